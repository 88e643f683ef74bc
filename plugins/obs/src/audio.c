/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Sound of a region as OBS takes it. */
#include "obs-shm2.h"

static enum audio_format format_of(const shm2_audio *audio)
{
	static const struct {
		const char *name;
		enum audio_format interleaved, planar;
	} FORMATS[] = {
	    {"U8", AUDIO_FORMAT_U8BIT, AUDIO_FORMAT_U8BIT_PLANAR},
	    {"S16LE", AUDIO_FORMAT_16BIT, AUDIO_FORMAT_16BIT_PLANAR},
	    {"S32LE", AUDIO_FORMAT_32BIT, AUDIO_FORMAT_32BIT_PLANAR},
	    {"F32LE", AUDIO_FORMAT_FLOAT, AUDIO_FORMAT_FLOAT_PLANAR},
	};
	for (size_t i = 0; i < sizeof FORMATS / sizeof *FORMATS; i++)
		if (strcmp(FORMATS[i].name, audio->format) == 0)
			return audio->is_planar ? FORMATS[i].planar : FORMATS[i].interleaved;
	return AUDIO_FORMAT_UNKNOWN;
}

/* OBS knows layouts by their number of channels; none has 7. */
static enum speaker_layout layout_of(uint32_t channels)
{
	bool is_known = (channels >= 1 && channels <= 6) || channels == 8;
	return is_known ? (enum speaker_layout)channels : SPEAKERS_UNKNOWN;
}

bool audio_from_frame(const shm2_frame *frame, struct obs_source_audio *sound, char why[SENTENCE])
{
	shm2_audio audio;
	memset(sound, 0, sizeof *sound);
	if (shm2_frame_media_kind(frame) == SHM2_MEDIA_VIDEO) {
		snprintf(why, SENTENCE, "the region has video, not audio: choose it as the video region");
		return false;
	}
	if (shm2_frame_audio(frame, &audio, sizeof audio) != SHM2_OK) {
		snprintf(why, SENTENCE, "%s", shm2_last_error());
		return false;
	}
	sound->format = format_of(&audio);
	sound->speakers = layout_of(audio.channels);
	if (sound->format == AUDIO_FORMAT_UNKNOWN) {
		snprintf(why, SENTENCE,
			 "OBS cannot play the format %s: put audioconvert and F32LE or S16LE before shm2sink",
			 audio.format);
		return false;
	}
	if (sound->speakers == SPEAKERS_UNKNOWN) {
		snprintf(why, SENTENCE,
			 "OBS cannot play %u channels, but 1 to 6 or 8: put audioconvert before shm2sink",
			 audio.channels);
		return false;
	}
	if (audio.rate == 0 || audio.rate > 768000 || audio.samples > UINT32_MAX) {
		snprintf(why, SENTENCE, "OBS cannot play %u samples per second: put audioresample before shm2sink",
			 audio.rate);
		return false;
	}
	sound->samples_per_sec = audio.rate;
	sound->frames = (uint32_t)audio.samples;
	for (uint32_t i = 0; i < (audio.is_planar ? audio.channels : 1); i++) {
		shm2_channel channel;
		if (shm2_frame_channel(frame, i, &channel, sizeof channel) != SHM2_OK) {
			snprintf(why, SENTENCE, "%s", shm2_last_error());
			return false;
		}
		sound->data[i] = channel.data;
	}
	return true;
}
