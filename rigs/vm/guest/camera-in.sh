#!/bin/bash
# Reads a camera (vivid) into a region in each mode of v4l2src and in several formats, with a consumer that writes its
# frames into a file. Prints for each how many frames the sink copied, and whether the consumer's last picture has the
# same bytes as one that v4l2src writes into a file without a region.
#
# usage: camera-in.sh MODE:FORMAT:WIDTHxHEIGHT...
#   MODE    of v4l2src's property io-mode
#   FORMAT  of GStreamer, such as YUY2
# input: none; the current folder has the programs
region=/dev/shm/shm2-test-camera
# Pictures without a moving text.
v4l2-ctl -d /dev/video0 --set-ctrl osd_text_mode=2

for word; do
  IFS=: read -r mode format size <<< "$word"
  caps="video/x-raw,format=$format,width=${size%x*},height=${size#*x}"
  [ -e /tmp/reference-"$format-$size" ] ||
    gst-launch-1.0 -q v4l2src device=/dev/video0 io-mode=mmap num-buffers=1 ! "$caps" ! \
      filesink location=/tmp/reference-"$format-$size"
  bytes=$(stat -c %s /tmp/reference-"$format-$size")
  timeout 60 gst-launch-1.0 -q shm2src shm-path=$region num-buffers=3 ! filesink location=/tmp/frames > /dev/null &
  consumer=$!
  timeout 60 gst-launch-1.0 -v v4l2src device=/dev/video0 io-mode="$mode" ! "$caps" ! \
    shm2sink shm-path=$region > /tmp/sink.log 2>&1 &
  producer=$!
  wait $consumer
  sleep 1.2 # The sink reports its counts once a second.
  kill $producer
  wait $producer
  counts=$(grep -a 'stats = ' /tmp/sink.log | tail -n 1 | sed 's/(guint64)//g')
  copied=$(grep -o ' copied=[0-9]*' <<< "$counts")
  in_place=$(grep -o 'zero-copied=[0-9]*' <<< "$counts")
  same=other
  [ "$(stat -c %s /tmp/frames)" = $((3 * bytes)) ] && tail -c "$bytes" /tmp/frames |
    cmp -s - /tmp/reference-"$format-$size" && same=same
  # Not the number of the frames, which depends on the machine.
  [ "$in_place" = zero-copied=0 ] || in_place=zero-copied=all
  [ "$copied" = " copied=0" ] || copied=" copied=all"
  echo "CAMERA $word: $in_place$copied, $same picture"
  rm -f /tmp/frames
done
rm -f $region
true
