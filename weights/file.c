/* SPDX-License-Identifier: MIT */
/* Whole files with POSIX calls: open, fstat, mmap; read; and write, fsync, rename for the atomic replacement. */
#include "weights/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* The system's own refusal; running out of memory keeps its status. */
static en_status io_fail(en_error *e, const char *what, const char *path)
{
    en_status status = errno == ENOMEM ? EN_E_NOMEM : EN_E_IO;
    return en_fail(e, status, "%s: cannot %s: %s", path, what, strerror(errno));
}

en_status wt_file_map(const char *path, wt_file *out, en_error *e)
{
    *out = (wt_file){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a named pipe is refused below, not waited for */
    if (fd < 0) return io_fail(e, "open", path);
    struct stat info;
    en_status status = EN_OK;
    if (fstat(fd, &info)) {
        status = io_fail(e, "stat", path);
    } else if (!S_ISREG(info.st_mode)) {
        status = en_fail(e, EN_E_IO, "%s: not a regular file", path);
    } else if (info.st_size == 0) {
        status = en_fail(e, EN_E_FORMAT, "%s: the file is empty", path);
    } else if ((uintmax_t)info.st_size > SIZE_MAX / 2) {
        status = en_fail(e, EN_E_LIMIT, "%s: too large for this machine's address space", path);
    } else {
        void *map = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (map == MAP_FAILED)
            status = io_fail(e, "map", path);
        else
            *out = (wt_file){.bytes = map, .size = (size_t)info.st_size};
    }
    close(fd);
    return status;
}

void wt_file_unmap(wt_file *file)
{
    if (file->bytes) munmap((void *)file->bytes, file->size);
    *file = (wt_file){0};
}

/* Reads until the end of fd or until more than max_size bytes have come. *bytes stays the caller's to free, also on failure. */
static en_status read_all(int fd, const char *path, size_t max_size, uint8_t **bytes, size_t *size, en_error *e)
{
    size_t capacity = 0;
    for (;;) {
        if (*size > max_size) return en_fail(e, EN_E_LIMIT, "%s: larger than %zu bytes", path, max_size);
        if (*size == capacity) {
            capacity = capacity ? 2 * capacity : 4096;
            uint8_t *grown = realloc(*bytes, capacity);
            if (!grown) return en_fail(e, EN_E_NOMEM, "%s: no memory for %zu bytes", path, capacity);
            *bytes = grown;
        }
        ssize_t n = read(fd, *bytes + *size, capacity - *size);
        if (n == 0) return EN_OK;
        if (n > 0)
            *size += (size_t)n;
        else if (errno != EINTR)
            return io_fail(e, "read", path);
    }
}

en_status wt_file_read(const char *path, size_t max_size, uint8_t **out, size_t *size, en_error *e)
{
    *out = NULL;
    *size = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return io_fail(e, "open", path);
    en_status status = read_all(fd, path, max_size, out, size, e);
    close(fd);
    if (status != EN_OK) {
        free(*out);
        *out = NULL;
        *size = 0;
    }
    return status;
}

static int write_all(int fd, const uint8_t *bytes, size_t size)
{
    while (size > 0) {
        ssize_t n = write(fd, bytes, size < (1u << 30) ? size : 1u << 30);
        if (n < 0 && errno != EINTR) return -1;
        if (n > 0) bytes += n, size -= (size_t)n;
    }
    return 0;
}

/* The length of the folder part of a path, with its slash. */
static size_t folder_length(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? (size_t)(slash - path) + 1 : 0;
}

/* Makes the rename itself durable. Some file systems cannot sync a folder; the file is then as safe as they allow. */
static void sync_folder(const char *path, char *scratch)
{
    size_t n = folder_length(path);
    memcpy(scratch, n ? path : ".", n ? n : 1);
    scratch[n ? n : 1] = 0;
    int fd = open(scratch, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    (void)!fsync(fd);
    close(fd);
}

/* Creates a new file beside `path`; its name goes to temp. The mode is what any new file gets. Returns -1 and errno on failure. */
static int open_temp(const char *path, char *temp, size_t room)
{
    for (int attempt = 0; attempt < 1000; attempt++) {
        snprintf(temp, room, "%.*s.%ld-%d.tmp", (int)folder_length(path), path, (long)getpid(), attempt);
        int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0 || errno != EEXIST) return fd;
    }
    return -1;
}

static void free_writer(wt_writer *w)
{
    free(w->temp);
    free(w->path);
    *w = (wt_writer){.fd = -1};
}

en_status wt_writer_open(const char *path, wt_writer *out, en_error *e)
{
    size_t room = strlen(path) + 64;
    *out = (wt_writer){.fd = -1, .path = strdup(path), .temp = malloc(room)};
    en_status status = out->path && out->temp ? EN_OK : en_fail(e, EN_E_NOMEM, "%s: no memory for its name", path);
    if (status == EN_OK) out->fd = open_temp(path, out->temp, room);
    if (status == EN_OK && out->fd < 0) status = io_fail(e, "create a file in its folder", path);
    if (status != EN_OK) free_writer(out);
    return status;
}

en_status wt_writer_put(wt_writer *w, const void *bytes, size_t size, en_error *e)
{
    return write_all(w->fd, bytes, size) ? io_fail(e, "write", w->path) : EN_OK;
}

en_status wt_writer_rewind(wt_writer *w, en_error *e) { return lseek(w->fd, 0, SEEK_SET) ? io_fail(e, "write", w->path) : EN_OK; }

en_status wt_writer_end(wt_writer *w, en_status status, en_error *e)
{
    if (status == EN_OK && fsync(w->fd)) status = io_fail(e, "write", w->path);
    if (close(w->fd) && status == EN_OK) status = io_fail(e, "write", w->path);
    if (status == EN_OK && rename(w->temp, w->path)) status = io_fail(e, "replace", w->path);
    if (status == EN_OK)
        sync_folder(w->path, w->temp);
    else
        unlink(w->temp);
    free_writer(w);
    return status;
}

en_status wt_file_write(const char *path, const wt_part *parts, size_t count, en_error *e)
{
    wt_writer w;
    EN_TRY(wt_writer_open(path, &w, e));
    en_status status = EN_OK;
    for (size_t i = 0; i < count && status == EN_OK; i++) status = wt_writer_put(&w, parts[i].bytes, parts[i].size, e);
    return wt_writer_end(&w, status, e);
}
