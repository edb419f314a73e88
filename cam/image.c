/* SPDX-License-Identifier: MIT */
/* Pictures on their way into a network: a photograph with its prepared input, or a ready input alone. */
#include "cam/image.h"

#include "weights/embed.h"
#include "weights/file.h"
#include "weights/npy.h"
#include "weights/seeded.h"

#include <stdlib.h>
#include <string.h>

WT_EMBED(cam_sample_png, "tools/sample/orange_granny.png");

enum { MAX_FILE = 1 << 30 };

/* ---- photographs ---- */

static en_status from_photo(const cam_net *net, img *photo, const char *preprocess, cam_image **out, en_error *e)
{
    net_recipe recipe;
    cam_image *image = calloc(1, sizeof *image);
    en_status status = image ? net_recipe_parse(preprocess, &net->recipe, &recipe, e) : en_fail(e, EN_E_NOMEM, "picture: out of memory");
    if (status == EN_OK) status = net_prepare(photo, &recipe, &image->input, e);
    if (status != EN_OK) {
        free(image);
        img_free(photo);
        return status;
    }
    image->photo = *photo;
    image->n = 1;
    *out = image;
    return EN_OK;
}

cam_status cam_image_decode(const cam_net *net, const void *bytes, size_t size, size_t max_pixels, const char *preprocess, cam_image **out,
                            cam_error *error)
{
    en_error *e = cam_engine_error(error);
    img photo;
    *out = NULL;
    EN_TRY(img_decode(bytes, size, max_pixels, &photo, e));
    return from_photo(net, &photo, preprocess, out, e);
}

cam_status cam_image_open(const cam_net *net, const char *path, const char *preprocess, cam_image **out, cam_error *error)
{
    uint8_t *bytes;
    size_t size;
    *out = NULL;
    EN_TRY(wt_file_read(path, MAX_FILE, &bytes, &size, cam_engine_error(error)));
    cam_status status = cam_image_decode(net, bytes, size, 0, preprocess, out, error);
    free(bytes);
    return status == CAM_OK ? CAM_OK : en_wrap(cam_engine_error(error), status, "%s", path);
}

cam_status cam_image_sample(const cam_net *net, const char *preprocess, cam_image **out, cam_error *e)
{
    return cam_image_decode(net, cam_sample_png, (size_t)(cam_sample_png_end - cam_sample_png), 0, preprocess, out, e);
}

/* ---- ready inputs ---- */

/* What the network sees, as a picture: the normalisation undone. */
static en_status show_tensor(const net_recipe *recipe, const float *chw, int width, int height, img *out, en_error *e)
{
    EN_TRY(img_new((size_t)width, (size_t)height, 0, out, e));
    size_t pixels = (size_t)width * (size_t)height;
    for (size_t c = 0; c < 3; c++)
        for (size_t i = 0; i < pixels; i++) {
            float v = 255 * (chw[c * pixels + i] * recipe->std[c] + recipe->mean[c]) + 0.5f;
            out->rgb[3 * i + c] = !(v > 0) ? 0 : v > 255 ? 255 : (uint8_t)v;
        }
    return EN_OK;
}

/* Takes over `data`, [n, 3, height, width]. */
static en_status from_tensor(const cam_net *net, float *data, int n, int height, int width, cam_image **out, en_error *e)
{
    cam_image *image = calloc(1, sizeof *image);
    en_status status = image ? show_tensor(&net->recipe, data, width, height, &image->photo, e) : en_fail(e, EN_E_NOMEM, "input: out of memory");
    if (status == EN_OK) status = img_new((size_t)width, (size_t)height, 0, &image->input.seen, e);
    if (status == EN_OK) memcpy(image->input.seen.rgb, image->photo.rgb, 3 * (size_t)width * (size_t)height);
    if (status != EN_OK) {
        if (image) img_free(&image->photo);
        free(image);
        free(data);
        return status;
    }
    image->n = n;
    image->input.chw = data;
    image->input.width = width;
    image->input.height = height;
    image->input.box[2] = width;
    image->input.box[3] = height;
    *out = image;
    return EN_OK;
}

static en_status read_seeded_image(const cam_net *net, const char *text, float **data, int dim[3], en_error *e)
{
    char *end;
    uint64_t seed = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end) return en_fail(e, EN_E_ARG, "input 'seeded-image:%s': want a whole number after the colon", text);
    dim[0] = 1;
    dim[1] = net->recipe.crop_height;
    dim[2] = net->recipe.crop_width;
    *data = malloc(3 * (size_t)dim[1] * (size_t)dim[2] * sizeof **data);
    if (!*data) return en_fail(e, EN_E_NOMEM, "input: out of memory");
    return wt_seeded_image(seed, dim[1], dim[2], *data, e);
}

static en_status read_npy(const char *file, float **data, int dim[3], en_error *e)
{
    wt_npy a;
    EN_TRY(wt_npy_read(file, &a, e));
    int first = a.rank - 3;
    *data = a.data;
    if (first != 0 && first != 1)
        return en_fail(e, EN_E_FORMAT, "%s: array of rank %d, want [3, H, W] or [N, 3, H, W]", file, a.rank);
    for (int i = 0; i < a.rank; i++)
        if (a.dim[i] < 1 || a.dim[i] > INT32_MAX) return en_fail(e, EN_E_FORMAT, "%s: dimension %d is %lld", file, i, (long long)a.dim[i]);
    if (a.dim[first] != 3) return en_fail(e, EN_E_FORMAT, "%s: %lld channels, want 3", file, (long long)a.dim[first]);
    dim[0] = first ? (int)a.dim[0] : 1;
    dim[1] = (int)a.dim[first + 1];
    dim[2] = (int)a.dim[first + 2];
    return EN_OK;
}

cam_status cam_image_tensor(const cam_net *net, const char *file, cam_image **out, cam_error *error)
{
    static const char seeded[] = "seeded-image:";
    en_error *e = cam_engine_error(error);
    float *data = NULL;
    int dim[3] = {0};
    *out = NULL;
    en_status status = !strncmp(file, seeded, sizeof seeded - 1) ? read_seeded_image(net, file + sizeof seeded - 1, &data, dim, e) : read_npy(file, &data, dim, e);
    if (status != EN_OK) {
        free(data);
        return status;
    }
    return from_tensor(net, data, dim[0], dim[1], dim[2], out, e);
}

void cam_image_free(cam_image *image)
{
    if (!image) return;
    img_free(&image->photo);
    net_input_free(&image->input);
    free(image);
}

cam_input cam_image_input(const cam_image *image)
{
    return (cam_input){image->input.chw, image->n, image->input.height, image->input.width};
}

const uint8_t *cam_image_pixels(const cam_image *image, int32_t photo_size[2])
{
    if (photo_size) photo_size[0] = image->photo.width, photo_size[1] = image->photo.height;
    return image->input.seen.rgb;
}
