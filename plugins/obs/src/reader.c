/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * A thread that reads a region, across restarts of its producer. */
#include "obs-shm2.h"

#include <util/platform.h>

/* Sound that an OBS which cannot keep up has left is skipped. */
#define LAG_LIMIT_NS 500000000
/* OBS puts audio at its time if that is less than 2 s away; a time of another clock is replaced. */
#define FOREIGN_NS 1500000000
#define RETRY_MS 500

struct reader {
	shm2_consumer *consumer;
	struct reader_calls calls;
	pthread_t thread;
	os_event_t *stop;
	/* Whether gone() was called for the current producer, or none was there yet. */
	bool is_gone;
	/* Whether the status says why there is no frame. */
	bool is_told;
};

/* When the frame is to be shown or heard, on the monotonic clock, which is OBS's. */
static uint64_t time_of(const struct reader *reader, const shm2_frame *frame)
{
	uint64_t now = os_gettime_ns(), local;
	const uint64_t times[] = {shm2_frame_time(frame), shm2_frame_published(frame)};
	for (size_t i = 0; i < 2; i++) {
		if (times[i] == SHM2_NONE || shm2_consumer_to_local(reader->consumer, times[i], &local) != SHM2_OK)
			continue;
		uint64_t distance = local > now ? local - now : now - local;
		if (distance < FOREIGN_NS)
			return local;
	}
	return now;
}

static void tell(const struct reader *reader, bool is_error, const char *sentence)
{
	status_set(reader->calls.status, is_error, obs_source_get_name(reader->calls.source), "%s", sentence);
}

/* What the user can do about an error of the library; its sentences name the remedy where there is only one. */
static const char *remedy(shm2_status status)
{
	switch (status) {
	case SHM2_INCOMPATIBLE:
		return ": choose a live region of the list";
	case SHM2_VIOLATION:
		return ": restart its producer";
	case SHM2_TRUNCATED:
		return "; waiting for its next producer";
	default:
		return "";
	}
}

static void take(struct reader *reader, shm2_frame *frame)
{
	char why[SENTENCE] = "";
	reader->is_gone = reader->is_told = false;
	if (!reader->calls.frame(reader->calls.data, frame, time_of(reader, frame), why))
		tell(reader, true, why);
	shm2_frame_free(frame);
}

static void lose(struct reader *reader, bool is_error, const char *sentence)
{
	tell(reader, is_error, sentence);
	if (!reader->is_gone)
		reader->calls.gone(reader->calls.data);
	reader->is_gone = reader->is_told = true;
}

static void *run(void *data)
{
	struct reader *reader = data;
	shm2_frame *frame;
	os_set_thread_name("shm2 reader");
	for (;;) {
		/* Says after a while what it waits for. */
		shm2_status status = shm2_consumer_next(reader->consumer, 1000000000, &frame);
		if (status == SHM2_OK) {
			take(reader, frame);
			continue;
		}
		if (status == SHM2_CANCELLED)
			return NULL;
		uint64_t generation = 0;
		if (status == SHM2_TIMED_OUT) {
			/* A producer that publishes nothing now is not gone. */
			shm2_consumer_generation(reader->consumer, &generation);
			if (generation == 0 && !reader->is_told)
				lose(reader, false, shm2_consumer_waiting_for(reader->consumer));
			continue;
		}
		bool is_end = status == SHM2_END_OF_STREAM || status == SHM2_GONE;
		char why[SENTENCE];
		snprintf(why, sizeof why, "%s%s", shm2_last_error(), remedy(status));
		lose(reader, !is_end, is_end ? "the producer is gone; waiting for the next one" : why);
		/* The next producer is waited for by the library; an error is tried again. */
		if (!is_end && os_event_timedwait(reader->stop, RETRY_MS) == 0)
			return NULL;
	}
}

static shm2_status open_consumer(const char *name, bool is_sound, shm2_consumer **consumer)
{
	shm2_consumer_options *options = shm2_consumer_options_new();
	shm2_consumer_options_set_on_exit(options, SHM2_ON_EXIT_ERROR);
	if (is_sound)
		shm2_consumer_options_set_lag_limit(options, LAG_LIMIT_NS);
	else
		shm2_consumer_options_set_latest(options, true);
	/* One is copied while the next one arrives. */
	shm2_consumer_options_set_max_leases(options, 2);
	shm2_status status = shm2_consumer_open(name, options, consumer);
	shm2_consumer_options_free(options);
	return status;
}

struct reader *reader_start(const char *name, const struct reader_calls *calls)
{
	struct reader *reader = bzalloc(sizeof *reader);
	reader->calls = *calls;
	reader->is_gone = true;
	if (open_consumer(name, calls->is_sound, &reader->consumer) != SHM2_OK) {
		tell(reader, true, shm2_last_error());
		bfree(reader);
		return NULL;
	}
	bool has_event = os_event_init(&reader->stop, OS_EVENT_TYPE_MANUAL) == 0;
	if (!has_event || pthread_create(&reader->thread, NULL, run, reader) != 0) {
		tell(reader, true, "no thread can be started: end other programs");
		os_event_destroy(reader->stop);
		shm2_consumer_free(reader->consumer);
		bfree(reader);
		return NULL;
	}
	return reader;
}

void reader_stop(struct reader *reader)
{
	if (!reader)
		return;
	os_event_signal(reader->stop);
	shm2_consumer_cancel(reader->consumer, true);
	pthread_join(reader->thread, NULL);
	shm2_consumer_free(reader->consumer);
	os_event_destroy(reader->stop);
	bfree(reader);
}
