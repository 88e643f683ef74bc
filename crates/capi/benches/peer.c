/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * One process of a measurement of bindings/python/benches/compare.py, in C: arguments, frames, work and output are
 * those of role.py there.
 *
 *     peer send|receive shm2|shmsink|shmsink-heap PLACE RATE SECONDS [written] [read]
 *
 *     cc -O2 -std=c11 -Wall -Werror -o peer peer.c peer_shm2.c peer_gst.c \
 *         $(pkg-config --cflags --libs shm2 gstreamer-app-1.0) */
#define _GNU_SOURCE

#include "peer.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define ROW_STEP 64
/* Frames before the measured ones, and the time between two of them. */
#define WARM_UP 60
#define WARM_UP_NS 5000000
/* Time between the last measured frame and the one that ends the run, whose stamp is LAST. */
#define LAST_NS 100000000
#define LAST 0

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static void sleep_until(uint64_t due)
{
    struct timespec time = {.tv_sec = (time_t)(due / 1000000000), .tv_nsec = (long)(due % 1000000000)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL) != 0) {
    }
}

void set_planes(struct frame *frame, uint8_t *data)
{
    frame->luma = data;
    frame->chroma = data + WIDTH * HEIGHT;
    frame->stride = WIDTH;
}

/* ---- what the process used ---- */

struct usage {
    uint64_t time_ns, cpu_ns, delay_ns;
    long faults;
};

/* Time for which threads were ready to run but others ran. */
static uint64_t delay_ns(void)
{
    uint64_t sum = 0;
    DIR *threads = opendir("/proc/self/task");
    struct dirent *thread;
    while (threads != NULL && (thread = readdir(threads)) != NULL) {
        char path[300];
        uint64_t delay;
        snprintf(path, sizeof path, "/proc/self/task/%s/schedstat", thread->d_name);
        FILE *file = fopen(path, "r");
        if (file == NULL)
            continue;
        if (fscanf(file, "%*u %" SCNu64, &delay) == 1)
            sum += delay;
        fclose(file);
    }
    if (threads != NULL)
        closedir(threads);
    return sum;
}

static struct usage usage_now(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (struct usage){clock_ns(CLOCK_MONOTONIC), clock_ns(CLOCK_PROCESS_CPUTIME_ID), delay_ns(), used.ru_minflt};
}

/* "shared" or "private": the mapping that holds an address. */
static const char *memory_of(const void *address)
{
    const char *found = "unmapped";
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[4400];
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
        uintptr_t first, end;
        char permissions[5];
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s", &first, &end, permissions) == 3
            && first <= (uintptr_t)address && (uintptr_t)address < end)
            found = permissions[3] == 's' ? "shared" : "private";
    }
    if (maps != NULL)
        fclose(maps);
    return found;
}

/* Prints the figures that both sides have, without the closing bracket. */
static void print_usage(struct usage begun, uint64_t ended_ns, uint64_t frames, const char *memory)
{
    struct usage now = usage_now();
    double count = frames > 0 ? (double)frames : 1;
    printf("{\"frames\": %" PRIu64 ", \"us\": %.3f, \"CPU us\": %.3f, \"page faults\": %.3f, "
           "\"waited for a CPU %%\": %.3f, \"memory\": \"%s\"",
           frames, (double)(ended_ns - begun.time_ns) / count / 1e3, (double)(now.cpu_ns - begun.cpu_ns) / count / 1e3,
           (double)(now.faults - begun.faults) / count,
           100.0 * (double)(now.delay_ns - begun.delay_ns) / (double)(now.time_ns - begun.time_ns), memory);
}

/* ---- sender ---- */

static uint8_t picture[FRAME_BYTES];
static uint64_t number;
static const char *sender_memory;

static bool send_frame(const struct way *way, bool writes, bool is_last)
{
    struct frame frame;
    if (!way->begin(&frame))
        return false;
    if (writes) {
        for (size_t row = 0; row < HEIGHT; row++)
            memcpy(frame.luma + row * frame.stride, picture + row * WIDTH, WIDTH);
        for (size_t row = 0; row < HEIGHT / 2; row++)
            memcpy(frame.chroma + row * frame.stride, picture + (HEIGHT + row) * WIDTH, WIDTH);
    }
    if (sender_memory == NULL)
        sender_memory = memory_of(frame.luma);
    uint64_t words[2] = {is_last ? LAST : clock_ns(CLOCK_MONOTONIC), number++};
    memcpy(frame.luma, words, sizeof words);
    return way->publish(&frame);
}

static bool wait_for_line(void)
{
    int byte;
    while ((byte = getchar()) != '\n') {
        if (byte == EOF) {
            fprintf(stderr, "peer: the program that started this process has ended\n");
            return false;
        }
    }
    return true;
}

static bool send_frames(const struct way *way, double rate, double seconds, bool writes)
{
    for (int count = 0; count < WARM_UP; count++) {
        if (!send_frame(way, writes, false))
            return false;
        sleep_until(clock_ns(CLOCK_MONOTONIC) + WARM_UP_NS);
    }
    struct usage begun = usage_now();
    uint64_t sent = 0, end = begun.time_ns + (uint64_t)(seconds * 1e9);
    while (clock_ns(CLOCK_MONOTONIC) < end) {
        if (rate > 0)
            sleep_until(begun.time_ns + (uint64_t)((double)(sent + 1) * 1e9 / rate));
        if (!send_frame(way, writes, false))
            return false;
        sent++;
    }
    uint64_t ended = clock_ns(CLOCK_MONOTONIC);
    print_usage(begun, ended, sent, sender_memory);
    sleep_until(ended + LAST_NS);
    if (!send_frame(way, false, true))
        return false;
    printf("}\n");
    fflush(stdout);
    return wait_for_line();
}

static bool run_sender(const struct way *way, const char *place, double rate, double seconds, bool writes)
{
    for (size_t at = 0; at < sizeof picture; at++)
        picture[at] = (uint8_t)(at * 7);
    if (!way->open_sender(place))
        return false;
    printf("ready\n");
    fflush(stdout);
    bool is_well = wait_for_line() && send_frames(way, rate, seconds, writes);
    way->close();
    return is_well;
}

/* ---- receiver ---- */

static volatile uint64_t sink;

static void read_rows(const struct frame *frame)
{
    uint64_t sum = 0;
    for (size_t row = 0; row < HEIGHT; row += ROW_STEP)
        for (size_t at = 0; at < WIDTH; at++)
            sum += frame->luma[row * frame->stride + at];
    for (size_t row = 0; row < HEIGHT / 2; row += ROW_STEP)
        for (size_t at = 0; at < WIDTH; at++)
            sum += frame->chroma[row * frame->stride + at];
    sink = sum;
}

struct latencies {
    uint64_t *ns;
    size_t count, space;
};

static bool record(struct latencies *all, uint64_t ns)
{
    if (all->count == all->space) {
        size_t space = all->space > 0 ? 2 * all->space : 4096;
        uint64_t *larger = realloc(all->ns, space * sizeof *larger);
        if (larger == NULL) {
            fprintf(stderr, "peer: no memory for the latencies\n");
            return false;
        }
        all->ns = larger;
        all->space = space;
    }
    all->ns[all->count++] = ns;
    return true;
}

static int compare_ns(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

static double quantile_us(const struct latencies *all, double share)
{
    size_t at = (size_t)(share * (double)all->count);
    return all->count == 0 ? 0 : (double)all->ns[at < all->count ? at : all->count - 1] / 1e3;
}

/* Receives until the last frame. */
static bool receive_frames(const struct way *way, bool reads)
{
    struct latencies all = {0};
    struct usage begun = {0};
    uint64_t expected = WARM_UP, missed = 0, ended = 0;
    const char *memory = NULL;
    bool is_well = true, is_last = false;
    while (is_well && !is_last) {
        struct frame frame;
        if (!way->next(&frame))
            return false;
        uint64_t now = clock_ns(CLOCK_MONOTONIC), words[2];
        memcpy(words, frame.luma, sizeof words);
        is_last = words[0] == LAST;
        if (words[1] >= WARM_UP) {
            missed += words[1] - expected;
            expected = words[1] + 1;
            if (all.count == 0 && !is_last)
                begun = usage_now();
            if (!is_last)
                is_well = record(&all, now - words[0]), ended = now;
        }
        if (memory == NULL)
            memory = memory_of(frame.luma);
        if (reads)
            read_rows(&frame);
        way->release(&frame);
    }
    /* The first frame began the measurement. */
    print_usage(begun, ended > begun.time_ns ? ended : begun.time_ns, all.count > 0 ? all.count - 1 : 0, memory);
    qsort(all.ns, all.count, sizeof *all.ns, compare_ns);
    printf(", \"p50 us\": %.3f, \"p99 us\": %.3f, \"missed\": %" PRIu64 "}\n", quantile_us(&all, 0.5),
           quantile_us(&all, 0.99), missed);
    fflush(stdout);
    free(all.ns);
    return is_well;
}

static bool run_receiver(const struct way *way, const char *place, bool reads)
{
    if (!way->open_receiver(place))
        return false;
    printf("ready\n");
    fflush(stdout);
    bool is_well = receive_frames(way, reads);
    way->close();
    return is_well;
}

int main(int argc, char **argv)
{
    const struct way *ways[] = {&shm2_way, &shmsink_way, &shmsink_heap_way};
    const struct way *way = NULL;
    bool writes = false, reads = false;
    for (size_t at = 0; argc >= 6 && at < sizeof ways / sizeof *ways; at++)
        if (strcmp(argv[2], ways[at]->name) == 0)
            way = ways[at];
    if (way == NULL) {
        fprintf(stderr, "usage: peer send|receive shm2|shmsink|shmsink-heap PLACE RATE SECONDS [written] [read]\n");
        return 2;
    }
    for (int at = 6; at < argc; at++) {
        writes |= strcmp(argv[at], "written") == 0;
        reads |= strcmp(argv[at], "read") == 0;
    }
    bool is_sender = strcmp(argv[1], "send") == 0;
    bool is_well = is_sender ? run_sender(way, argv[3], atof(argv[4]), atof(argv[5]), writes)
                             : run_receiver(way, argv[3], reads);
    return is_well ? 0 : 1;
}
