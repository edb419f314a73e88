/* SPDX-License-Identifier: MIT */
/* The one thing that a viewer needs of EXIF: tag 0x0112, orientation, a SHORT in the first directory of a TIFF structure
 * (TIFF 6.0 section 2; Exif 2.32 section 4.6.4). */
#include "nets/image/image.h"

#include <string.h>

enum { ORIENTATION = 0x0112, TYPE_SHORT = 3, ENTRY = 12 };

static uint32_t number(const uint8_t *at, int bytes, int big_endian)
{
    uint32_t value = 0;
    for (int i = 0; i < bytes; i++) value = value << 8 | at[big_endian ? i : bytes - 1 - i];
    return value;
}

int img_exif_orientation(const uint8_t *tiff, size_t size)
{
    if (size < 8 || (memcmp(tiff, "II*\0", 4) && memcmp(tiff, "MM\0*", 4))) return 1;
    int big = tiff[0] == 'M';
    size_t directory = number(tiff + 4, 4, big);
    if (directory > size - 2) return 1;
    size_t entries = number(tiff + directory, 2, big), room = (size - directory - 2) / ENTRY;
    for (size_t i = 0; i < entries && i < room; i++) {
        const uint8_t *entry = tiff + directory + 2 + i * ENTRY; /* tag 2, type 2, count 4, value 4 */
        if (number(entry, 2, big) != ORIENTATION) continue;
        uint32_t value = number(entry + 8, 2, big);
        int valid = number(entry + 2, 2, big) == TYPE_SHORT && number(entry + 4, 4, big) == 1 && value >= 1 && value <= 8;
        return valid ? (int)value : 1;
    }
    return 1;
}
