// Publishes a gradient that moves: producer [NAME] [FRAMES]
//
// c++ -std=c++17 -o producer producer.cpp $(pkg-config --cflags --libs shm2)
#include <shm2.hpp>

#include <chrono>
#include <cstdint>
#include <iostream>
#include <string>
#include <thread>

int main(int argc, char **argv) {
    using namespace std::chrono_literals;
    const std::string name = argc > 1 ? argv[1] : "/dev/shm/shm2-example";
    const unsigned long frames = argc > 2 ? std::stoul(argv[2]) : 250;
    try {
        shm2::producer producer(name, shm2::producer_options().size(8 << 20));
        producer.set_caps("video/x-raw,format=RGBx,width=320,height=180,framerate=25/1");
        for (unsigned long number = 0; number < frames; number++) {
            try {
                shm2::slot slot = producer.reserve(producer.frame_size());
                std::size_t y = number;
                for (shm2::writable_bytes row : slot.plane(0).each_row()) {
                    for (std::size_t x = 0; x + 3 < row.size(); x += 4) {
                        row[x] = static_cast<std::uint8_t>(x / 5);
                        row[x + 1] = static_cast<std::uint8_t>(y);
                        row[x + 2] = 128;
                        row[x + 3] = 255;
                    }
                    y++;
                }
                producer.publish(std::move(slot.pts(number * 40000000).duration(40000000)));
            } catch (const shm2::error &error) {
                if (!error.is_drop())
                    throw;
                std::cerr << "producer: " << error.what() << '\n';
            }
            std::this_thread::sleep_for(40ms);
        }
        producer.end_of_stream();
        producer.drain(1s);
        return 0;
    } catch (const std::exception &error) {
        std::cerr << "producer: " << error.what() << '\n';
        return 1;
    }
}
