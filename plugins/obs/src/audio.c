/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Sound of a region as OBS takes it. */
#include "obs-shm2.h"

/* Outside of these OBS's resampler fails, and OBS copies what it did not make. */
#define LEAST_RATE 4000
#define LARGEST_RATE 768000
/* OBS keeps about 20 s. */
#define LONGEST_SECONDS 10

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
	if (!frame_is_raw(frame, SHM2_MEDIA_AUDIO, why))
		return false;
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
	if (audio.rate < LEAST_RATE || audio.rate > LARGEST_RATE) {
		snprintf(why, SENTENCE,
			 "OBS cannot play %u samples per second, but %d to %d: put audioresample before shm2sink",
			 audio.rate, LEAST_RATE, LARGEST_RATE);
		return false;
	}
	if (audio.samples > (uint64_t)audio.rate * LONGEST_SECONDS) {
		snprintf(why, SENTENCE,
			 "OBS cannot play a frame of %llu s, but of %d s at most: put audiobuffersplit before shm2sink",
			 (unsigned long long)(audio.samples / audio.rate), LONGEST_SECONDS);
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
