/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * shm2 for C++17: move-only types above shm2.h, whose rules hold here too. Errors are exceptions of one class.
 *
 *     shm2::consumer camera("/dev/shm/camera");
 *     for (const shm2::frame &frame : camera.frames())          // until the end of the stream
 *         for (shm2::bytes row : frame.plane(0).each_row())
 *             use(row.data(), row.size());
 *
 *     shm2::producer out("/dev/shm/result");
 *     out.set_caps("video/x-raw,format=RGBA,width=640,height=480,framerate=30/1");
 *     shm2::slot slot = out.reserve(out.frame_size());
 *     slot.plane(0).row(0)[0] = 255;
 *     out.publish(std::move(slot));
 */
#ifndef SHM2_HPP
#define SHM2_HPP

#include <shm2.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace shm2 {

/* What went wrong: what() is shm2_last_error(). */
class error : public std::runtime_error {
  public:
    explicit error(shm2_status status) : std::runtime_error(shm2_last_error()), status_(status) {}
    shm2_status status() const noexcept { return status_; }
    /* Whether only this frame was dropped and counted. */
    bool is_drop() const noexcept { return shm2_is_drop(status_); }

  private:
    shm2_status status_;
};

inline void check(shm2_status status) {
    if (status != SHM2_OK)
        throw error(status);
}

/* Bytes that another object owns, as std::span of C++20. */
template <typename Byte> class basic_bytes {
  public:
    constexpr basic_bytes() noexcept = default;
    constexpr basic_bytes(Byte *data, std::size_t size) noexcept : data_(data), size_(size) {}
    constexpr Byte *data() const noexcept { return data_; }
    constexpr std::size_t size() const noexcept { return size_; }
    constexpr bool empty() const noexcept { return size_ == 0; }
    constexpr Byte *begin() const noexcept { return data_; }
    constexpr Byte *end() const noexcept { return data_ + size_; }
    constexpr Byte &operator[](std::size_t index) const noexcept { return data_[index]; }

  private:
    Byte *data_ = nullptr;
    std::size_t size_ = 0;
};
using bytes = basic_bytes<const std::uint8_t>;
using writable_bytes = basic_bytes<std::uint8_t>;

/* A plane of a picture, whose rows are in one piece unless the format has tiles. Valid as long as its frame or slot. */
template <typename Byte> class basic_plane : public shm2_plane {
  public:
    basic_plane(const shm2_plane &plane, Byte *first) noexcept : shm2_plane(plane), first_(first) {}
    basic_bytes<Byte> row(std::size_t index) const noexcept {
        return {first_ + index * static_cast<std::size_t>(stride), static_cast<std::size_t>(row_bytes)};
    }
    class row_iterator {
      public:
        row_iterator(const basic_plane *plane, std::size_t index) noexcept : plane_(plane), index_(index) {}
        basic_bytes<Byte> operator*() const noexcept { return plane_->row(index_); }
        row_iterator &operator++() noexcept { return ++index_, *this; }
        bool operator!=(const row_iterator &other) const noexcept { return index_ != other.index_; }

      private:
        const basic_plane *plane_;
        std::size_t index_;
    };
    class row_range {
      public:
        explicit row_range(const basic_plane &plane) noexcept : plane_(plane) {}
        row_iterator begin() const noexcept { return {&plane_, 0}; }
        row_iterator end() const noexcept { return {&plane_, plane_.rows}; }

      private:
        basic_plane plane_;
    };
    /* The rows from the top. They own a copy of this description, so plane(0).each_row() may stand in a range-for. */
    row_range each_row() const noexcept { return row_range(*this); }

  private:
    Byte *first_;
};
using plane = basic_plane<const std::uint8_t>;
using writable_plane = basic_plane<std::uint8_t>;

namespace detail {
template <typename Handle, void (*free)(Handle *)> struct deleter {
    void operator()(Handle *handle) const noexcept { free(handle); }
};
template <typename Handle, void (*free)(Handle *)> using owned = std::unique_ptr<Handle, deleter<Handle, free>>;

inline std::optional<std::uint64_t> time(std::uint64_t value) {
    return value == SHM2_NONE ? std::nullopt : std::optional(value);
}
inline bytes view(const void *data, std::size_t size) { return {static_cast<const std::uint8_t *>(data), size}; }
} // namespace detail

/* A time limit; none if it is negative. */
using timeout = std::chrono::nanoseconds;
inline constexpr timeout forever{-1};

class frame {
  public:
    explicit frame(shm2_frame *handle) noexcept : handle_(handle) {}
    const shm2_frame *get() const noexcept { return handle_.get(); }

    bytes data() const { return detail::view(shm2_frame_data(get()), shm2_frame_size(get())); }
    std::size_t size() const { return shm2_frame_size(get()); }
    std::uint64_t sequence() const { return shm2_frame_sequence(get()); }
    std::uint64_t missed() const { return shm2_frame_missed(get()); }
    bool is_event() const { return shm2_frame_is_event(get()); }
    bool is_leased() const { return shm2_frame_is_leased(get()); }
    bool is_discontinuity() const { return shm2_frame_is_discontinuity(get()); }
    std::uint32_t flags() const { return shm2_frame_flags(get()); }
    std::optional<std::uint64_t> pts() const { return detail::time(shm2_frame_pts(get())); }
    std::optional<std::uint64_t> duration() const { return detail::time(shm2_frame_duration(get())); }
    std::optional<std::uint64_t> published() const { return detail::time(shm2_frame_published(get())); }
    std::string_view caps() const {
        std::size_t size = 0;
        const char *text = shm2_frame_caps(get(), &size);
        return {text ? text : "", size};
    }
    bytes meta() const {
        std::size_t size = 0;
        const void *data = shm2_frame_meta(get(), &size);
        return detail::view(data, size);
    }
    shm2_media_kind media_kind() const { return shm2_frame_media_kind(get()); }
    shm2_video video() const { return described<shm2_video>(shm2_frame_video); }
    shm2_audio audio() const { return described<shm2_audio>(shm2_frame_audio); }
    shm2_encoded encoded() const { return described<shm2_encoded>(shm2_frame_encoded); }
    shm2::plane plane(std::uint32_t index) const {
        shm2_plane plane{};
        check(shm2_frame_plane(get(), index, &plane, sizeof plane));
        return {plane, plane.data};
    }
    shm2_channel channel(std::uint32_t index) const {
        shm2_channel channel{};
        check(shm2_frame_channel(get(), index, &channel, sizeof channel));
        return channel;
    }
    /* The visible part, three bytes for each pixel, row by row without padding. */
    std::vector<std::uint8_t> to_rgb() const {
        const shm2_video video = this->video();
        std::vector<std::uint8_t> rgb(std::size_t{3} * video.visible_width * video.visible_height);
        check(shm2_frame_to_rgb(get(), rgb.data(), 0, rgb.size()));
        return rgb;
    }
    /* Throws if the file was truncated while the bytes were read in place. */
    void check_intact() const { check(shm2_frame_check(get())); }

  private:
    template <typename T> T described(shm2_status (*read)(const shm2_frame *, T *, std::size_t)) const {
        T description{};
        check(read(get(), &description, sizeof description));
        return description;
    }
    detail::owned<shm2_frame, shm2_frame_free> handle_;
};

class consumer_options {
  public:
    consumer_options() : handle_(shm2_consumer_options_new()) {}
    shm2_consumer_options *get() const noexcept { return handle_.get(); }
    consumer_options &access(shm2_access value) { return set(shm2_consumer_options_set_access(get(), value)); }
    consumer_options &start(shm2_start value) { return set(shm2_consumer_options_set_start(get(), value)); }
    consumer_options &latest(bool value) { return set(shm2_consumer_options_set_latest(get(), value)); }
    consumer_options &on_exit(shm2_on_exit value) { return set(shm2_consumer_options_set_on_exit(get(), value)); }
    consumer_options &events(bool value) { return set(shm2_consumer_options_set_events(get(), value)); }

  private:
    consumer_options &set(shm2_status status) { return check(status), *this; }
    detail::owned<shm2_consumer_options, shm2_consumer_options_free> handle_;
};

class consumer {
  public:
    explicit consumer(const std::string &name) : consumer(name, nullptr) {}
    consumer(const std::string &name, const consumer_options &options) : consumer(name, options.get()) {}
    shm2_consumer *get() const noexcept { return handle_.get(); }

    /* The next frame; nothing when the limit passed, and at the end of the stream. */
    std::optional<frame> next(timeout limit = forever) {
        return taken([&](shm2_frame **next) { return shm2_consumer_next(get(), limit.count(), next); });
    }
    /* The next frame if there is one now. */
    std::optional<frame> try_next() {
        return taken([&](shm2_frame **next) { return shm2_consumer_try_next(get(), next); });
    }
    /* Whether the last call of next() or try_next() found the end of the stream. */
    bool has_ended() const noexcept { return has_ended_; }
    /* For poll and epoll: readable while there may be something to take by try_next(). */
    int fd() {
        int fd = -1;
        check(shm2_consumer_fd(get(), &fd));
        return fd;
    }
    void cancel(bool cancelled = true) { check(shm2_consumer_cancel(get(), cancelled)); }
    void set_latest(bool latest) { check(shm2_consumer_set_latest(get(), latest)); }
    std::string waiting_for() const {
        const char *text = shm2_consumer_waiting_for(get());
        return text ? text : "";
    }
    shm2_consumer_stats stats() const {
        shm2_consumer_stats stats{};
        check(shm2_consumer_get_stats(get(), &stats, sizeof stats));
        return stats;
    }

    /* Frames for a range-for, which waits for each and ends with the stream. */
    class frame_iterator {
      public:
        explicit frame_iterator(consumer *from = nullptr) : from_(from) { ++*this; }
        const frame &operator*() const noexcept { return *frame_; }
        frame_iterator &operator++() {
            frame_.reset();
            if (from_)
                frame_ = from_->next();
            return *this;
        }
        bool operator!=(const frame_iterator &) const noexcept { return frame_.has_value(); }

      private:
        consumer *from_;
        std::optional<frame> frame_;
    };
    struct frame_range {
        consumer *from;
        frame_iterator begin() const { return frame_iterator(from); }
        frame_iterator end() const { return frame_iterator(); }
    };
    frame_range frames() noexcept { return {this}; }

  private:
    consumer(const std::string &name, const shm2_consumer_options *options) {
        shm2_consumer *handle = nullptr;
        check(shm2_consumer_open(name.c_str(), options, &handle));
        handle_.reset(handle);
    }
    template <typename Take> std::optional<frame> taken(Take take) {
        shm2_frame *next = nullptr;
        const shm2_status status = take(&next);
        has_ended_ = status == SHM2_END_OF_STREAM;
        if (has_ended_ || status == SHM2_TIMED_OUT)
            return std::nullopt;
        check(status);
        return frame(next);
    }
    detail::owned<shm2_consumer, shm2_consumer_free> handle_;
    bool has_ended_ = false;
};

class slot {
  public:
    explicit slot(shm2_slot *handle) noexcept : handle_(handle) {}
    shm2_slot *get() const noexcept { return handle_.get(); }
    shm2_slot *release() noexcept { return handle_.release(); }
    writable_bytes data() { return {static_cast<std::uint8_t *>(shm2_slot_data(get())), shm2_slot_size(get())}; }
    writable_plane plane(std::uint32_t index) {
        shm2_plane plane{};
        check(shm2_slot_plane(get(), index, &plane, sizeof plane));
        return {plane, data().data() + plane.offset};
    }
    slot &pts(std::uint64_t value) { return set(shm2_slot_set_pts(get(), value)); }
    slot &dts(std::int64_t value) { return set(shm2_slot_set_dts(get(), value)); }
    slot &duration(std::uint64_t value) { return set(shm2_slot_set_duration(get(), value)); }
    slot &flags(std::uint32_t value) { return set(shm2_slot_set_flags(get(), value)); }
    slot &meta(bytes value) { return set(shm2_slot_set_meta(get(), value.data(), value.size())); }

  private:
    slot &set(shm2_status status) { return check(status), *this; }
    detail::owned<shm2_slot, shm2_slot_free> handle_;
};

class producer_options {
  public:
    producer_options() : handle_(shm2_producer_options_new()) {}
    shm2_producer_options *get() const noexcept { return handle_.get(); }
    producer_options &size(std::uint64_t bytes) { return set(shm2_producer_options_set_size(get(), bytes)); }
    producer_options &arena(std::uint64_t bytes) { return set(shm2_producer_options_set_arena(get(), bytes)); }
    producer_options &perms(std::uint32_t mode) { return set(shm2_producer_options_set_perms(get(), mode)); }
    producer_options &history(std::uint32_t frames) { return set(shm2_producer_options_set_history(get(), frames)); }
    producer_options &full_policy(shm2_full_policy policy, timeout limit = forever) {
        return set(shm2_producer_options_set_full_policy(get(), policy, limit.count()));
    }

  private:
    producer_options &set(shm2_status status) { return check(status), *this; }
    detail::owned<shm2_producer_options, shm2_producer_options_free> handle_;
};

class producer {
  public:
    explicit producer(const std::string &name) : producer(name, nullptr) {}
    producer(const std::string &name, const producer_options &options) : producer(name, options.get()) {}
    shm2_producer *get() const noexcept { return handle_.get(); }

    void set_caps(const std::string &caps) { check(shm2_producer_set_caps(get(), caps.c_str())); }
    std::size_t frame_size() const {
        std::size_t size = 0;
        check(shm2_producer_frame_size(get(), &size));
        return size;
    }
    slot reserve(std::size_t size) {
        shm2_slot *slot = nullptr;
        check(shm2_producer_reserve(get(), size, &slot));
        return shm2::slot(slot);
    }
    /* Returns the number of the frame. */
    std::uint64_t publish(slot filled) {
        std::uint64_t sequence = 0;
        check(shm2_producer_publish(get(), filled.release(), &sequence));
        return sequence;
    }
    std::uint64_t send(bytes data, std::uint64_t pts = SHM2_NONE) {
        std::uint64_t sequence = 0;
        check(shm2_producer_send(get(), data.data(), data.size(), pts, &sequence));
        return sequence;
    }
    void end_of_stream() { check(shm2_producer_end_of_stream(get())); }
    /* Whether every leasing consumer took every item within the limit. */
    bool drain(timeout limit) {
        const shm2_status status = shm2_producer_drain(get(), limit.count());
        return status == SHM2_TIMED_OUT ? false : (check(status), true);
    }
    std::size_t consumers() const {
        std::size_t consumers = 0;
        check(shm2_producer_consumers(get(), &consumers));
        return consumers;
    }
    shm2_producer_stats stats() const {
        shm2_producer_stats stats{};
        check(shm2_producer_get_stats(get(), &stats, sizeof stats));
        return stats;
    }

  private:
    producer(const std::string &name, const shm2_producer_options *options) {
        shm2_producer *handle = nullptr;
        check(shm2_producer_create(name.c_str(), options, &handle));
        handle_.reset(handle);
    }
    detail::owned<shm2_producer, shm2_producer_free> handle_;
};

} // namespace shm2

#endif
