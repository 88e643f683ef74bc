// Prints the frames of a region until the end of its stream: consumer [NAME] [FRAMES]
//
// c++ -std=c++17 -o consumer consumer.cpp $(pkg-config --cflags --libs shm2)
#include <shm2.hpp>

#include <iostream>
#include <numeric>
#include <string>

int main(int argc, char **argv) {
    const std::string name = argc > 1 ? argv[1] : "/dev/shm/shm2-example";
    unsigned long left = argc > 2 ? std::stoul(argv[2]) : 0;
    try {
        shm2::consumer consumer(name);
        for (const shm2::frame &frame : consumer.frames()) {
            std::cout << frame.sequence() << ": " << frame.size() << " bytes, " << frame.missed() << " missed before it";
            if (frame.media_kind() == SHM2_MEDIA_VIDEO) {
                const shm2_video video = frame.video();
                const shm2::plane plane = frame.plane(0);
                double sum = 0;
                for (shm2::bytes row : plane.each_row())
                    sum = std::accumulate(row.begin(), row.end(), sum);
                std::cout << ", " << video.format << ' ' << video.width << 'x' << video.height << ", mean of plane 0 "
                          << sum / (static_cast<double>(plane.rows) * static_cast<double>(plane.row_bytes));
            }
            std::cout << std::endl;
            if (left != 0 && --left == 0)
                break;
        }
        return 0;
    } catch (const std::exception &error) {
        std::cerr << "consumer: " << error.what() << '\n';
        return 1;
    }
}
