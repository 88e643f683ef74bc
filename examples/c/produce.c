/* Publishes buffers of a counter, thirty a second: produce [PATH [COUNT]]
 *
 * Each buffer is 4096 bytes: its number over and over, as 64-bit little-endian words. */

#include <gst/app/gstappsrc.h>
#include <gst/gst.h>
#include <stdlib.h>

#define BYTES 4096
#define RATE 30

typedef struct
{
  guint64 count;
  guint64 number;
} Frames;

/* Returns a buffer owned by the caller; NULL without memory. */
static GstBuffer *
counter (guint64 number)
{
  GstBuffer *buffer = gst_buffer_new_allocate (NULL, BYTES, NULL);
  GstMapInfo map;
  gsize at;

  if (buffer == NULL || !gst_buffer_map (buffer, &map, GST_MAP_WRITE)) {
    gst_clear_buffer (&buffer);
    return NULL;
  }
  for (at = 0; at + sizeof (number) <= map.size; at += sizeof (number))
    GST_WRITE_UINT64_LE (map.data + at, number);
  gst_buffer_unmap (buffer, &map);
  GST_BUFFER_PTS (buffer) = gst_util_uint64_scale (number, GST_SECOND, RATE);
  GST_BUFFER_DURATION (buffer) = GST_SECOND / RATE;
  return buffer;
}

/* Answers each request for data, which comes from a thread of the pipeline, with one buffer. */
static void
feed (GstAppSrc * source, guint bytes, gpointer user_data)
{
  Frames *frames = user_data;
  GstBuffer *buffer = frames->number < frames->count ? counter (frames->number) : NULL;

  (void) bytes;
  if (buffer != NULL) {
    frames->number++;
    gst_app_src_push_buffer (source, buffer);   /* takes the buffer over */
  } else if (frames->number == frames->count) {
    gst_app_src_end_of_stream (source);
  } else {
    GST_ELEMENT_ERROR (source, RESOURCE, NO_SPACE_LEFT, ("no memory for a buffer"), (NULL));
  }
}

/* Waits until all is published or something failed. The sink takes each buffer when it is due and sets the pace. */
static gboolean
wait_for_end (GstBus * bus)
{
  GstMessage *message = gst_bus_timed_pop_filtered (bus, GST_CLOCK_TIME_NONE, GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
  gboolean ok = GST_MESSAGE_TYPE (message) == GST_MESSAGE_EOS;
  GError *error = NULL;

  if (!ok) {
    gst_message_parse_error (message, &error, NULL);
    g_printerr ("produce: %s\n", error->message);
    g_clear_error (&error);
  }
  gst_message_unref (message);
  return ok;
}

int
main (int argc, char **argv)
{
  const char *path = argc > 1 ? argv[1] : "/dev/shm/counter";
  GstAppSrcCallbacks callbacks = {.need_data = feed };
  Frames frames = {.count = 300 };
  GstElement *pipeline, *source, *sink;
  GError *error = NULL;
  GstBus *bus;
  gboolean ok;

  gst_init (&argc, &argv);
  if (argc > 2 && !g_ascii_string_to_unsigned (argv[2], 10, 1, G_MAXINT64, &frames.count, NULL)) {
    g_printerr ("produce: '%s' is not a number of frames\n", argv[2]);
    return EXIT_FAILURE;
  }
  pipeline = gst_parse_launch ("appsrc name=source format=time max-buffers=1 max-bytes=0 "
      "caps=application/x-counter ! shm2sink name=sink", &error);
  if (error != NULL) {
    g_printerr ("produce: %s\n", error->message);
    g_clear_error (&error);
    gst_clear_object (&pipeline);
    return EXIT_FAILURE;
  }
  sink = gst_bin_get_by_name (GST_BIN (pipeline), "sink");
  g_object_set (sink, "shm-path", path, NULL);
  gst_object_unref (sink);
  source = gst_bin_get_by_name (GST_BIN (pipeline), "source");
  gst_app_src_set_callbacks (GST_APP_SRC (source), &callbacks, &frames, NULL);
  gst_object_unref (source);
  bus = gst_element_get_bus (pipeline);

  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  ok = wait_for_end (bus);
  gst_element_set_state (pipeline, GST_STATE_NULL);

  gst_object_unref (bus);
  gst_object_unref (pipeline);
  return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
