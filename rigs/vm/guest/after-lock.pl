# Waits until the lock of a region's producer is gone, writes zeros into the memory of its frames, as a next producer
# could, and prints when the last of them was overwritten in the 500 ms after that.
#
# usage: perl after-lock.pl FILE [now]
#   now   do not wait: shows that writes of a live producer are seen
use strict;
use warnings;
use constant { F_OFD_GETLK => 36, F_RDLCK => 0, F_UNLCK => 2, LIVENESS => 4611686018427387904, ARENA => 4784128 };
# Less than the bytes of a frame.
use constant { STEP => 16384, ZEROS => "\0" x 8 };

open(my $file, '+<', $ARGV[0]) or die "$ARGV[0]: $!";
my @places = grep { $_ + STEP < -s $file } map { ARENA + STEP * $_ } 0 .. (-s $file) / STEP;

# clock_gettime(CLOCK_MONOTONIC) of x86-64: Debian's smallest perl has no Time::HiRes.
sub now {
    my $time = pack('qq', 0, 0);
    syscall(228, 1, $time);
    my ($s, $ns) = unpack('qq', $time);
    return $s + $ns / 1e9;
}

sub is_locked {
    my $probe = pack('s s x4 q q i x4', F_RDLCK, 0, LIVENESS, 1, 0);
    fcntl($file, F_OFD_GETLK, $probe) or die "fcntl: $!";
    return unpack('s', $probe) != F_UNLCK;
}

# Whether something was written over the zeros; writes them anew.
sub is_overwritten {
    my ($place) = @_;
    my $bytes;
    sysseek($file, $place, 0);
    sysread($file, $bytes, length ZEROS);
    return 0 if $bytes eq ZEROS;
    sysseek($file, $place, 0);
    syswrite($file, ZEROS);
    return 1;
}

die "no producer\n" unless is_locked();
$| = 1;
print "ready\n";
1 while is_locked() && !$ARGV[1];
my ($gone, $count, $latest, $looks) = (now(), 0, 0, 0);
is_overwritten($_) for @places;
while (now() < $gone + 0.5) {
    my $new = grep { is_overwritten($_) } @places;
    ($count, $latest) = ($count + $new, now() - $gone) if $new;
    $looks++;
}
printf "after the lock: %d of %d places overwritten, last after %.1f ms, %d looks\n", $count, scalar @places,
  1000 * $latest, $looks;
