/* Prints the caps of a region once, and bytes and time of each frame: watch [PATH [COUNT]] */

#include <gst/app/gstappsink.h>
#include <gst/gst.h>
#include <stdlib.h>

/* Time to wait for a frame before the bus is checked. */
#define WAIT (100 * GST_MSECOND)

/* Returns FALSE, with the reason on stderr, if the pipeline failed. */
static gboolean
is_well (GstBus * bus)
{
  GstMessage *message = gst_bus_pop_filtered (bus, GST_MESSAGE_ERROR);
  GError *error = NULL;

  if (message == NULL)
    return TRUE;
  gst_message_parse_error (message, &error, NULL);
  g_printerr ("watch: %s\n", error->message);
  g_clear_error (&error);
  gst_message_unref (message);
  return FALSE;
}

/* Prints caps that differ from those before, and keeps them in `known`. */
static void
show_caps (GstSample * sample, GstCaps ** known)
{
  GstCaps *caps = gst_sample_get_caps (sample);
  gchar *text;

  if (caps == NULL || (*known != NULL && gst_caps_is_equal (caps, *known)))
    return;
  gst_caps_replace (known, caps);
  text = gst_caps_to_string (caps);
  g_print ("%s\n", text);
  g_free (text);
}

static void
show_frame (GstSample * sample)
{
  /* The sample owns the buffer. */
  GstBuffer *buffer = gst_sample_get_buffer (sample);

  g_print ("%" G_GSIZE_FORMAT " bytes, pts %" GST_TIME_FORMAT "\n", gst_buffer_get_size (buffer),
      GST_TIME_ARGS (GST_BUFFER_PTS (buffer)));
}

static gboolean
watch (GstAppSink * frames, GstBus * bus, guint64 count)
{
  GstCaps *caps = NULL;
  guint64 seen = 0;

  while (seen < count && is_well (bus)) {
    GstSample *sample = gst_app_sink_try_pull_sample (frames, WAIT);

    if (sample != NULL) {
      show_caps (sample, &caps);
      show_frame (sample);
      /* Releases the frame's memory to its producer. */
      gst_sample_unref (sample);
      seen++;
    } else if (gst_app_sink_is_eos (frames)) {
      if (is_well (bus))
        g_printerr ("watch: the stream ended after %" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT " frames\n",
            seen, count);
      break;
    }
  }
  gst_caps_replace (&caps, NULL);
  return seen == count;
}

int
main (int argc, char **argv)
{
  const char *path = argc > 1 ? argv[1] : "/dev/shm/camera";
  guint64 count = 100;
  GstElement *pipeline, *source, *frames;
  GError *error = NULL;
  GstBus *bus;
  gboolean ok;

  gst_init (&argc, &argv);
  if (argc > 2 && !g_ascii_string_to_unsigned (argv[2], 10, 1, G_MAXINT64, &count, NULL)) {
    g_printerr ("watch: '%s' is not a number of frames\n", argv[2]);
    return EXIT_FAILURE;
  }
  pipeline = gst_parse_launch
      ("shm2src name=source ! appsink name=frames max-buffers=4 sync=false enable-last-sample=false", &error);
  if (error != NULL) {
    g_printerr ("watch: %s\n", error->message);
    g_clear_error (&error);
    gst_clear_object (&pipeline);
    return EXIT_FAILURE;
  }
  source = gst_bin_get_by_name (GST_BIN (pipeline), "source");
  g_object_set (source, "shm-path", path, NULL);
  gst_object_unref (source);
  frames = gst_bin_get_by_name (GST_BIN (pipeline), "frames");
  bus = gst_element_get_bus (pipeline);

  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  ok = watch (GST_APP_SINK (frames), bus, count);
  gst_element_set_state (pipeline, GST_STATE_NULL);

  gst_object_unref (bus);
  gst_object_unref (frames);
  gst_object_unref (pipeline);
  return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
