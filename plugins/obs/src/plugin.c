/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The module: its entry, and the sentences that it tells people. */
#include "obs-shm2.h"

#include <util/platform.h>

OBS_DECLARE_MODULE()
OBS_MODULE_USE_DEFAULT_LOCALE("obs-shm2", "en-US")

uint64_t module_begin;

MODULE_EXPORT const char *obs_module_description(void)
{
	return "Video and audio from and to shared-memory regions of shm2";
}

bool obs_module_load(void)
{
	module_begin = os_gettime_ns();
	obs_register_source(&source_info);
	obs_register_source(&video_filter_info);
	obs_register_source(&audio_filter_info);
	obs_register_output(&output_info);
	menu_load();
	blog(LOG_INFO, "[shm2] libshm2 %s", shm2_version());
	return true;
}

void obs_module_unload(void)
{
	menu_unload();
}

void status_init(struct status *status, uint64_t again_ns)
{
	memset(status, 0, sizeof *status);
	status->again_ns = again_ns;
	pthread_mutex_init(&status->lock, NULL);
}

void status_free(struct status *status)
{
	pthread_mutex_destroy(&status->lock);
}

/* FNV-1a. */
static uint64_t hash_of(const char *text)
{
	uint64_t hash = 0xcbf29ce484222325;
	for (; *text; text++)
		hash = (hash ^ (uint8_t)*text) * 0x100000001b3;
	return hash;
}

/* Whether a sentence may go to the log now: two that alternate with each frame would fill it. */
static bool may_log(struct status *status, const char *text)
{
	uint64_t hash = hash_of(text), now = os_gettime_ns();
	size_t i = 0;
	while (i < LOGGED && status->logged[i].hash != hash)
		i++;
	if (i < LOGGED && now - status->logged[i].time < status->again_ns)
		return false;
	if (i == LOGGED) {
		i = status->next_logged;
		status->next_logged = (i + 1) % LOGGED;
	}
	status->logged[i].hash = hash;
	status->logged[i].time = now;
	return true;
}

void status_set(struct status *status, bool is_error, const char *who, const char *format, ...)
{
	char text[SENTENCE];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	pthread_mutex_lock(&status->lock);
	bool is_new = strcmp(text, status->text) != 0 && may_log(status, text);
	memcpy(status->text, text, sizeof text);
	status->is_error = is_error;
	pthread_mutex_unlock(&status->lock);
	if (is_new)
		blog(is_error ? LOG_WARNING : LOG_INFO, "[shm2] %s: %s", who, text);
}

void status_show(struct status *status, const char *name, obs_properties_t *properties)
{
	pthread_mutex_lock(&status->lock);
	if (status->text[0]) {
		obs_property_t *it = obs_properties_add_text(properties, name, T("Status"), OBS_TEXT_INFO);
		obs_property_set_long_description(it, status->text);
		obs_property_text_set_info_type(it, status->is_error ? OBS_TEXT_INFO_ERROR : OBS_TEXT_INFO_NORMAL);
		obs_property_text_set_info_word_wrap(it, true);
	}
	pthread_mutex_unlock(&status->lock);
}

bool frame_is_raw(const shm2_frame *frame, shm2_media_kind kind, char why[SENTENCE])
{
	shm2_media_kind found = shm2_frame_media_kind(frame);
	const char *wanted = kind == SHM2_MEDIA_VIDEO ? "video" : "audio";
	if (found == kind)
		return true;
	if (found == SHM2_MEDIA_VIDEO || found == SHM2_MEDIA_AUDIO) {
		const char *other = found == SHM2_MEDIA_VIDEO ? "video" : "audio";
		snprintf(why, SENTENCE, "the region has %s, not %s: choose it as the %s region", other, wanted, other);
	} else if (found == SHM2_MEDIA_NONE) {
		snprintf(why, SENTENCE, "the frame has no caps that tell its format: let the producer set them");
	} else {
		const char *caps = shm2_frame_caps(frame, NULL);
		/* Names of media types are short; caps need not be. */
		size_t length = caps ? strcspn(caps, ",; ") : 0;
		snprintf(why, SENTENCE, "the frame is %.*s, not raw %s: %s, or choose another region",
			 (int)(length < 64 ? length : 64), caps ? caps : "", wanted,
			 found == SHM2_MEDIA_ENCODED ? "put decodebin before shm2sink" : "give shm2sink raw frames");
	}
	return false;
}
