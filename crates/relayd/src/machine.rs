//! When the input and the splash run: a state machine without threads, clocks or pipelines.
//!
//! | demand | input | splash |
//! |---|---|---|
//! | none | off (after the cool-down) | on |
//! | there, for less than the start delay | off | on |
//! | there | on | on until the input's first buffer |
//! | there, and the input failed | off for the back-off | on |

use std::time::Duration;

/// Times that the machine uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// How long demand must last before the input starts: a short connection does not switch a camera on.
    pub start_delay: Duration,
    /// How long the input keeps running after the last demand, so that a client that reconnects finds it running.
    pub cool_down: Duration,
    /// An input without its first buffer for this long hangs. Zero disables the check.
    pub start_timeout: Duration,
    /// An input without a further buffer for this long hangs. Zero disables the check.
    pub frame_timeout: Duration,
    /// Wait after the first failure; it doubles with each further one.
    pub back_off: Duration,
    /// The longest wait.
    pub longest_back_off: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            start_delay: Duration::ZERO,
            cool_down: Duration::from_secs(2),
            start_timeout: Duration::from_secs(15),
            frame_timeout: Duration::from_secs(10),
            back_off: Duration::from_millis(500),
            longest_back_off: Duration::from_secs(30),
        }
    }
}

/// A run without failure for this long resets the back-off.
const STEADY: Duration = Duration::from_secs(10);

/// What the caller must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Start the input.
    StartInput,
    /// Stop the input.
    StopInput,
    /// Start the splash.
    StartSplash,
    /// Stop the splash.
    StopSplash,
}

/// State of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Not running, no demand.
    Off,
    /// Starts at this time if there is still demand.
    Waiting(Duration),
    /// Running since this time.
    On(Duration),
    /// Runs until this time unless demand returns.
    Cooling(Duration),
}

/// The machine. All times count from one arbitrary moment.
#[derive(Debug)]
pub struct Machine {
    timing: Timing,
    has_splash: bool,
    is_wanted: bool,
    phase: Phase,
    delivers: bool,
    started: Duration,
    failures: u32,
    /// After a failure, not before this time.
    not_before: Duration,
    splash_runs: bool,
    random: fastrand::Rng,
}

impl Machine {
    /// A machine without demand. `seed` determines the jitter of the back-off.
    pub fn new(timing: Timing, has_splash: bool, seed: u64) -> Self {
        Self {
            timing,
            has_splash,
            is_wanted: false,
            phase: Phase::Off,
            delivers: false,
            started: Duration::ZERO,
            failures: 0,
            not_before: Duration::ZERO,
            splash_runs: false,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// State of the input.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether the input runs.
    pub fn input_runs(&self) -> bool {
        matches!(self.phase, Phase::On(_) | Phase::Cooling(_))
    }

    /// Whether the input delivers buffers.
    pub fn delivers(&self) -> bool {
        self.delivers
    }

    /// Failures since the last steady run.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Replaces the times.
    pub fn set_timing(&mut self, timing: Timing, now: Duration) {
        self.timing = timing;
        if let Phase::Cooling(until) = &mut self.phase {
            *until = (*until).min(now + timing.cool_down);
        }
    }

    /// Forgets the failures of the previous input after it was replaced. The caller restarts a running one.
    pub fn renew(&mut self, now: Duration) {
        self.failures = 0;
        self.not_before = now;
        self.delivers = false;
        match &mut self.phase {
            Phase::Waiting(until) => *until = (*until).min(now + self.timing.start_delay),
            Phase::On(since) => {
                *since = now;
                self.started = now;
            }
            _ => {}
        }
    }

    /// Sets whether there is a splash. The caller must have stopped a running one.
    pub fn set_splash(&mut self, has_splash: bool) {
        self.has_splash = has_splash;
        self.splash_runs = false;
    }

    /// Sets whether there is demand for the input.
    pub fn set_demand(&mut self, is_wanted: bool, now: Duration) {
        self.is_wanted = is_wanted;
        self.phase = match (self.phase, is_wanted) {
            (Phase::Off, true) => Phase::Waiting((now + self.timing.start_delay).max(self.not_before)),
            (Phase::Waiting(_), false) => Phase::Off,
            (Phase::On(_), false) => Phase::Cooling(now + self.timing.cool_down),
            (Phase::Cooling(_), true) => Phase::On(self.started),
            (phase, _) => phase,
        };
    }

    /// The input's first buffer passed.
    pub fn input_delivers(&mut self) {
        self.delivers = self.input_runs();
    }

    /// The input failed, ended, or hangs. Returns the wait until the next start.
    pub fn input_failed(&mut self, now: Duration) -> Duration {
        if !self.input_runs() {
            return Duration::ZERO;
        }
        if self.delivers && now.saturating_sub(self.started) >= STEADY {
            self.failures = 0;
        }
        let wait = self.next_back_off();
        self.failures = self.failures.saturating_add(1);
        self.not_before = now + wait;
        self.delivers = false;
        self.phase = if self.is_wanted { Phase::Waiting(self.not_before) } else { Phase::Off };
        wait
    }

    /// Doubles with each failure up to the longest wait, less a random share of up to a quarter: relays that lost the
    /// same camera do not restart it at the same moment.
    fn next_back_off(&mut self) -> Duration {
        let doubled = self.timing.back_off.saturating_mul(1 << self.failures.min(20));
        doubled.min(self.timing.longest_back_off).mul_f64(1.0 - self.random.f64() / 4.0)
    }

    /// Whether the input hangs, with its last buffer at `last`.
    pub fn hangs(&self, now: Duration, last: Duration) -> bool {
        self.hang_time(last).is_some_and(|time| now >= time)
    }

    /// Time without a buffer after which the input hangs: another one until its first buffer. Zero is no limit.
    pub fn longest_silence(&self) -> Duration {
        if self.delivers { self.timing.frame_timeout } else { self.timing.start_timeout }
    }

    /// `None` if the input does not run, or its time is not limited.
    fn hang_time(&self, last: Duration) -> Option<Duration> {
        let limit = Some(self.longest_silence()).filter(|limit| self.input_runs() && !limit.is_zero())?;
        Some(self.started.max(last).saturating_add(limit))
    }

    /// When [`step`](Self::step) must be called at the latest, with the input's last buffer at `last`.
    pub fn deadline(&self, last: Duration) -> Option<Duration> {
        let hang = self.hang_time(last);
        match self.phase {
            Phase::Off => None,
            Phase::Waiting(until) => Some(until),
            Phase::On(_) => hang,
            Phase::Cooling(until) => Some(hang.map_or(until, |hang| hang.min(until))),
        }
    }

    /// Advances to `now`; returns the commands to execute. `ran`: the input was started and not stopped yet.
    pub fn step(&mut self, now: Duration, ran: bool) -> Vec<Command> {
        let mut commands = Vec::new();
        match self.phase {
            Phase::Waiting(until) if now >= until => {
                self.phase = Phase::On(now);
                self.started = now;
                self.delivers = false;
            }
            Phase::Cooling(until) if now >= until => {
                self.phase = Phase::Off;
                self.delivers = false;
            }
            _ => {}
        }
        if ran && !self.input_runs() {
            commands.push(Command::StopInput);
        }
        let splash = self.has_splash && !self.delivers;
        // The splash starts before the input, and is shown until its first buffer.
        if splash != self.splash_runs {
            commands.push(if splash { Command::StartSplash } else { Command::StopSplash });
            self.splash_runs = splash;
        }
        if !ran && self.input_runs() {
            commands.push(Command::StartInput);
        }
        commands
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    /// An input of the machine.
    #[derive(Debug, Clone)]
    enum Happening {
        Demand(bool),
        Delivers,
        Fails,
        Time(u64),
    }

    fn happening() -> impl Strategy<Value = Happening> {
        prop_oneof![
            any::<bool>().prop_map(Happening::Demand),
            Just(Happening::Delivers),
            Just(Happening::Fails),
            (0..3000u64).prop_map(Happening::Time),
        ]
    }

    /// Executes commands, and checks that each is valid.
    struct World {
        machine: Machine,
        now: Duration,
        input: bool,
        splash: bool,
    }

    impl World {
        fn new(timing: Timing) -> Self {
            let mut world = Self { machine: Machine::new(timing, true, 7), now: MS(0), input: false, splash: false };
            world.step();
            world
        }

        fn step(&mut self) {
            for command in self.machine.step(self.now, self.input) {
                let (what, to) = match command {
                    Command::StartInput => (&mut self.input, true),
                    Command::StopInput => (&mut self.input, false),
                    Command::StartSplash => (&mut self.splash, true),
                    Command::StopSplash => (&mut self.splash, false),
                };
                assert_ne!(*what, to, "{command:?} twice");
                *what = to;
            }
            assert_eq!(self.input, self.machine.input_runs());
            assert_eq!(self.splash, !self.machine.delivers());
        }

        fn happens(&mut self, happening: &Happening) {
            match happening {
                Happening::Demand(is_wanted) => self.machine.set_demand(*is_wanted, self.now),
                Happening::Delivers => self.machine.input_delivers(),
                Happening::Fails => drop(self.machine.input_failed(self.now)),
                Happening::Time(ms) => self.now += MS(*ms),
            }
            self.step();
        }
    }

    proptest! {
        #[test]
        fn the_input_finally_runs_if_and_only_if_there_is_demand(
            happenings in prop::collection::vec(happening(), 0..60),
            is_wanted: bool,
            delay in 0..500u64,
        ) {
            let timing = Timing { start_delay: MS(delay), ..Timing::default() };
            let mut world = World::new(timing);
            happenings.iter().for_each(|happening| world.happens(happening));
            world.happens(&Happening::Demand(is_wanted));
            world.happens(&Happening::Time(60_000));
            prop_assert_eq!(world.input, is_wanted);
            world.happens(&Happening::Delivers);
            prop_assert_eq!(world.splash, !is_wanted);
        }
    }

    #[test]
    fn short_demand_starts_nothing_and_a_short_gap_stops_nothing() {
        let mut world = World::new(Timing { start_delay: MS(100), ..Timing::default() });
        for happening in [Happening::Demand(true), Happening::Time(99), Happening::Demand(false), Happening::Time(500)]
        {
            world.happens(&happening);
            assert!(!world.input && world.splash);
        }
        world.happens(&Happening::Demand(true));
        assert_eq!(world.machine.deadline(MS(0)), Some(world.now + MS(100)));
        world.happens(&Happening::Time(100));
        assert!(world.input && world.splash, "the splash stays until the input delivers");
        world.happens(&Happening::Delivers);
        assert!(world.input && !world.splash);
        for happening in
            [Happening::Demand(false), Happening::Time(1999), Happening::Demand(true), Happening::Time(5000)]
        {
            world.happens(&happening);
            assert!(world.input && !world.splash);
        }
        world.happens(&Happening::Demand(false));
        world.happens(&Happening::Time(2000));
        assert!(!world.input && world.splash);
    }

    #[test]
    fn the_back_off_grows_with_each_failure_and_resets_after_a_steady_run() {
        let mut world = World::new(Timing::default());
        world.happens(&Happening::Demand(true));
        let mut longest = MS(0);
        for failures in 0..12u32 {
            let wait = world.machine.input_failed(world.now);
            let full = MS(500).saturating_mul(1 << failures).min(MS(30_000));
            assert!(wait <= full && wait >= full.mul_f64(0.74), "failure {failures}: {wait:?}");
            world.step();
            assert!(!world.input && world.splash);
            world.now += wait;
            world.step();
            assert!(world.input);
            longest = longest.max(wait);
        }
        assert!(longest > MS(20_000));
        world.happens(&Happening::Delivers);
        world.happens(&Happening::Time(10_000));
        assert!(world.machine.input_failed(world.now) <= MS(500));
    }

    #[test]
    fn an_input_without_buffers_hangs() {
        let mut world = World::new(Timing::default());
        world.happens(&Happening::Demand(true));
        assert_eq!(world.machine.deadline(MS(0)), Some(MS(15_000)));
        assert!(!world.machine.hangs(MS(14_999), MS(0)) && world.machine.hangs(MS(15_000), MS(0)));
        world.happens(&Happening::Delivers);
        assert_eq!(world.machine.deadline(MS(0)), Some(MS(10_000)));
        assert!(!world.machine.hangs(MS(9_999), MS(0)) && world.machine.hangs(MS(10_000), MS(0)));
        assert!(!world.machine.hangs(MS(12_000), MS(2_001)));
        let mut patient =
            World::new(Timing { frame_timeout: MS(0), start_timeout: Duration::MAX, ..Timing::default() });
        patient.happens(&Happening::Demand(true));
        assert!(!patient.machine.hangs(MS(1 << 40), MS(0)));
        patient.happens(&Happening::Delivers);
        assert!(!patient.machine.hangs(MS(1 << 40), MS(0)));
    }
}
