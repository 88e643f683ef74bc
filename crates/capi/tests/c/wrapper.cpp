// Everything of the C++ header: wrapper NAME
#include <shm2.hpp>

#include <cstdlib>
#include <cstring>
#include <iostream>
#include <string>
#include <thread>
#include <type_traits>

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            std::cerr << __FILE__ << ':' << __LINE__ << ": " << #condition << "; " << shm2_last_error() << '\n';       \
            std::exit(1);                                                                                              \
        }                                                                                                              \
    } while (0)

using namespace std::chrono_literals;

template <typename T>
constexpr bool is_move_only = std::is_nothrow_move_constructible_v<T> && !std::is_copy_constructible_v<T>;
static_assert(is_move_only<shm2::consumer> && is_move_only<shm2::producer>);
static_assert(is_move_only<shm2::frame> && is_move_only<shm2::slot>);
static_assert(std::is_same_v<decltype(std::declval<shm2::frame>().plane(0).row(0)), shm2::bytes>);
static_assert(std::is_same_v<decltype(std::declval<shm2::slot>().plane(0).row(0)), shm2::writable_bytes>);

template <typename Call> shm2_status thrown(Call call, const std::string &part) {
    try {
        call();
    } catch (const shm2::error &error) {
        CHECK(std::string(error.what()).find(part) != std::string::npos);
        return error.status();
    }
    return SHM2_OK;
}

static void errors(const std::string &name) {
    CHECK(thrown([] { shm2::consumer("relative"); }, "not an absolute path") == SHM2_INVALID);
    CHECK(thrown([&] { shm2::producer(name, shm2::producer_options().size(1)); }, "1 bytes") == SHM2_INVALID);
    CHECK(thrown([] { shm2::frame(nullptr).video(); }, "frame is NULL") == SHM2_INVALID);
    CHECK(thrown([] { shm2::slot(nullptr).pts(1); }, "slot is NULL") == SHM2_INVALID);
    CHECK(shm2::frame(nullptr).data().empty() && !shm2::frame(nullptr).pts());
    try {
        shm2::check(SHM2_FULL);
    } catch (const std::runtime_error &error) {
        CHECK(static_cast<const shm2::error &>(error).is_drop());
    }
}

static void video(shm2::producer &producer, shm2::consumer &consumer) {
    producer.set_caps("video/x-raw,format=GRAY8,width=5,height=3,framerate=30/1");
    shm2::slot slot = producer.reserve(producer.frame_size());
    CHECK(slot.data().size() == 24);
    std::uint8_t value = 0;
    for (shm2::writable_bytes row : slot.plane(0).each_row())
        for (std::uint8_t &pixel : row)
            pixel = value++;
    slot.pts(40).dts(-3).duration(20).flags(7);
    CHECK(producer.publish(std::move(slot)) == 1);

    std::optional<shm2::frame> frame = consumer.next(10s);
    CHECK(frame && frame->sequence() == 1 && frame->missed() == 0 && frame->flags() == 7 && !frame->is_event());
    CHECK(frame->pts() == 40u && frame->duration() == 20u && frame->published() && frame->is_leased());
    CHECK(frame->caps().substr(0, 11) == "video/x-raw" && frame->media_kind() == SHM2_MEDIA_VIDEO);
    CHECK(frame->meta().empty() && frame->size() == 24 && frame->data().size() == 24);
    CHECK(frame->video().width == 5 && frame->plane(0).stride == 8);
    std::uint8_t expected = 0;
    for (shm2::bytes row : frame->plane(0).each_row())
        for (std::uint8_t pixel : row)
            CHECK(pixel == expected++);
    CHECK(expected == 15 && frame->to_rgb().size() == 45);
    CHECK(thrown([&] { frame->plane(1); }, "GRAY8 has 1") == SHM2_INVALID);
    CHECK(thrown([&] { frame->audio(); }, "not raw audio") == SHM2_MEDIA);
    frame->check_intact();
    (void)frame->is_discontinuity();

    // A blob of another kind than readers of raw video expect.
    const std::uint8_t meta[] = {1, 2, 3};
    slot = producer.reserve(producer.frame_size());
    producer.publish(std::move(slot.meta({meta, sizeof meta})));
    frame = consumer.next(10s);
    CHECK(frame->meta().size() == 3 && frame->meta()[2] == 3);
    CHECK(thrown([&] { frame->plane(0); }, "the meta blob ends inside an item") == SHM2_MEDIA);
}

static void others(shm2::producer &producer, shm2::consumer &consumer) {
    const std::uint8_t samples[] = {1, 2, 3, 4};
    producer.set_caps("audio/x-raw,format=U8,rate=8000,channels=2");
    producer.send({samples, sizeof samples}, 9);
    std::optional<shm2::frame> frame = consumer.next(10s);
    CHECK(frame->audio().samples == 2 && frame->channel(1).data[2] == 4 && frame->pts() == 9u);
    producer.set_caps("image/jpeg");
    producer.send({samples, sizeof samples});
    frame = consumer.try_next();
    CHECK(frame && std::strcmp(frame->encoded().codec, "JPEG") == 0 && !frame->pts());
    CHECK(!consumer.try_next() && !consumer.has_ended() && !consumer.next(0ns));
    CHECK(consumer.fd() >= 0 && consumer.fd() == consumer.fd());
    CHECK(!consumer.waiting_for().empty());
    // On a slow machine the number is that of the last look, some time ago.
    for (int looks = 0; producer.consumers() != 1; looks++) {
        CHECK(looks < 10000);
        std::this_thread::sleep_for(1ms);
    }
    CHECK(consumer.stats().received == 4 && producer.stats().published == 4);
    consumer.set_latest(false);
    consumer.cancel();
    CHECK(thrown([&] { consumer.next(); }, "cancelled") == SHM2_CANCELLED);
    consumer.cancel(false);
}

static void range(shm2::producer &producer, shm2::consumer &consumer) {
    const std::uint8_t byte = 1;
    for (int i = 0; i < 5; i++)
        producer.send({&byte, 1});
    producer.end_of_stream();
    int count = 0;
    for (const shm2::frame &frame : consumer.frames())
        count += static_cast<int>(frame.size());
    CHECK(count == 5 && consumer.has_ended());
    CHECK(producer.drain(10s));
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    const std::string name = argv[1];
    errors(name);
    shm2::producer_options options;
    options.arena(1 << 20).perms(0600).history(10).full_policy(SHM2_FULL_BLOCK, 1s);
    shm2::producer producer(name, options);
    shm2::consumer_options receiving;
    receiving.access(SHM2_ACCESS_LEASE).start(SHM2_START_OLDEST).latest(false).events(true);
    shm2::consumer consumer(name, receiving.on_exit(SHM2_ON_EXIT_ERROR));
    video(producer, consumer);
    others(producer, consumer);
    range(producer, consumer);
    shm2::consumer moved = std::move(consumer);
    {
        shm2::producer closed = std::move(producer);
    }
    CHECK(thrown([&] { moved.next(10s); }, "is gone") == SHM2_GONE);
    return 0;
}
