//! The contract between this crate and an operating system: the traits that `linux`, `windows` and `heap` implement.
//!
//! | trait | contract |
//! |---|---|
//! | [`Platform`] | the types of one platform, the constructors of its regions, clocks, random numbers |
//! | [`ProducerRegion`], [`ConsumerRegion`] | one region, as its producer and as a consumer sees it |
//! | [`MappedBytes`] | a mapped range of a region |
//! | [`ProcessEvent`] | wakes threads of this process |
//! | [`ChangeWatch`], [`AwaitProducer`] | signal an event when a peer comes or goes |
//!
//! Exactly one platform is compiled in, and its types have fixed names in the parent module, so every call is static.
//! Only the two region traits have a second implementation at run time, `ivshmem`; `region` chooses.
//!
//! # Locks and heartbeats
//! A native region has locks: one for the producer, one for each consumer page, one for snapshot consumers. The kernel
//! unlocks what a process held when that process ends, however it ends. So a lock that another process can take has a
//! dead owner. Memory of a device is shared with another kernel, which knows nothing of these locks: there
//! [`ProducerRegion::has_locks`] is false, peers are judged by their heartbeats, and waiting is polling
//! ([`Poll`](super::Poll)).

#[cfg(not(miri))]
use super::fnv1a;
use super::{ChangedNames, Event, Forward, Mapping, Watch};
use crate::error::{AttachError, CreateError};
use crate::mapped::Memory;
use crate::name::Spec;
use crate::sync::AtomicU32;
use std::fmt;
use std::io;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

/// Interval between looks at words on which no thread can sleep.
pub(crate) const LOOK_AT_WORDS: Duration = Duration::from_millis(2);

/// An operating system. Implemented by a type without values.
pub(crate) trait Platform {
    type Mapping: MappedBytes;
    type Event: ProcessEvent;
    type Watch: ChangeWatch;
    type ProducerWatch: AwaitProducer;
    type OwnedRegion: ProducerRegion;
    type OpenRegion: ConsumerRegion;

    /// Creates a native region. Exactly one of several concurrent callers succeeds; the others get an error.
    ///
    /// `begin` writes the header before any other process can see the region, and keeps the mapping. If `keep`
    /// says so, an existing region is used, with its own size. `begin` then frees the pages of dead consumers by calling the
    /// function that it is given, at the point where the header permits it.
    fn create_region<T>(
        spec: &Spec,
        bytes: u64,
        perms: u32,
        keep: Keep,
        begin: impl FnOnce(Self::Mapping, &dyn Fn(&Memory)) -> Result<T, CreateError>,
    ) -> Result<(Self::OwnedRegion, T), CreateError>;

    /// Opens a native region, for writing if the consumer is to lease.
    fn open_region(spec: &Spec, writable: bool) -> Result<Self::OpenRegion, AttachError>;

    /// Opens a file for reading that was found in a directory, not named by the caller. A link is not followed.
    fn open_listed(path: &Path) -> Result<Self::OpenRegion, AttachError> {
        Self::open_region(&Spec::of_file(path.into()), false)
    }

    /// Identity and times of the file at a path, without opening it. `None` where a file does not change its times
    /// before a generation begins in it, or if it cannot be looked at.
    fn stamp_of(_path: &Path) -> Option<Stamp> {
        None
    }

    /// What a dead producer has left at a path that was found in a directory; `None` if the file is something else, or is
    /// in use. Has no effect on the file.
    fn leftover_at(_path: &Path) -> Option<LeftoverFile> {
        None
    }

    /// Removes a leftover if the path still leads to the file of this identity and its producer is dead, which is
    /// checked under the locks that a producer takes. False if the path leads to another file or to none.
    fn remove_leftover(_path: &Path, _identity: Identity) -> Result<bool, CreateError> {
        Ok(false)
    }

    /// Name of the file system at the region's path, and major and minor number of its device; `None` if the region is
    /// no file.
    fn place_of(_spec: &Spec) -> Option<(String, (u32, u32))> {
        None
    }

    /// Signals `event` when a file of the folder appears, changes its times, is closed by a process that could write, or
    /// goes, and adds its name to `changed`, until the watch is dropped. `None` where no such watch can be had: the caller
    /// must look at intervals.
    fn watch_folder(_path: &Path, _event: &Arc<Event>, _changed: &Arc<ChangedNames>) -> Option<Watch> {
        None
    }

    /// The same for one live region of the folder.
    fn watch_listed(_path: &Path, _event: &Arc<Event>, _changed: &Arc<ChangedNames>) -> Option<Watch> {
        None
    }

    /// Words that one [`wait_many`](Self::wait_many) takes at most.
    const MOST_WORDS: usize = 127;
    /// Whether [`wait_many`](Self::wait_many) reports changes. Otherwise it only ends after a short time, and the end of a
    /// producer must be probed for.
    const WAITS_ON_WORDS: bool = false;

    /// Sleeps until one of the words differs from the value given with it, the event's value differs from `seen`, or
    /// `timeout` has passed. Returns the index of a word that changed, if one ended the sleep and is known. No word is
    /// read, so its mapping may end meanwhile; then the sleep may end early or last until the event is signalled.
    fn wait_many(
        _words: &[(NonNull<AtomicU32>, u32)],
        event: &Self::Event,
        seen: u32,
        timeout: Option<Duration>,
    ) -> Option<usize> {
        event.wait(seen, Some(timeout.unwrap_or(LOOK_AT_WORDS).min(LOOK_AT_WORDS)));
        None
    }

    /// Nanoseconds of the monotonic clock that all processes of this kernel share.
    fn monotonic_ns() -> u64;

    /// Identifies the monotonic clock: processes with equal non-zero values read the same clock. 0 if unknown.
    fn clock_name() -> u64;

    /// Nanoseconds since 1970.
    fn realtime_ns() -> u64;

    /// A random number, never 0.
    fn random_nonzero() -> u64;

    /// Id of this process, in its own namespace.
    fn process_id() -> u32 {
        std::process::id()
    }

    /// Number of forks without exec between the process that loaded this library and this one.
    fn fork_depth() -> usize {
        0
    }
}

/// A file that a dead producer has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LeftoverFile {
    pub(crate) identity: Identity,
    /// Memory or disk space that it takes.
    pub(crate) bytes: u64,
    /// It has a temporary name: its producer was killed before the region was complete.
    pub(crate) is_draft: bool,
}

/// A region that this process produces. Dropping it unlocks everything, as the end of the process does.
pub(crate) trait ProducerRegion {
    /// Path or name of the region.
    fn path(&self) -> &Path;

    /// True if locks show whether peers are alive. False if only heartbeats do; every lock function then does nothing.
    fn has_locks(&self) -> bool {
        true
    }

    /// Tries to take the lock of consumer page `index` and does not wait. True means that no live consumer owns the
    /// page by lock, and that none can claim it so until [`unlock_page`](Self::unlock_page), which must be called by
    /// the same thread. False if the lock is held, or if the attempt fails.
    fn try_lock_page(&self, index: usize) -> bool;

    /// Undoes a successful [`try_lock_page`](Self::try_lock_page).
    fn unlock_page(&self, index: usize);

    /// Whether a consumer that may write owns page `index` by its lock. Other locks may keep
    /// [`try_lock_page`](Self::try_lock_page) from the page of a dead consumer. True if that cannot be found out.
    fn has_page_owner(&self, _index: usize) -> bool {
        true
    }

    /// Whether a snapshot consumer is attached. True if that cannot be found out.
    fn has_snapshots(&self) -> bool;

    /// Whether a snapshot consumer requests a frame that depends on no other. Always false where the platform has no way
    /// to show it.
    fn has_keyframe_request(&self) -> bool {
        false
    }

    /// Signals every watch on the region, of consumers and of this producer.
    fn notify_watchers(&self);

    /// Signals the watches on the region's folder: the stream has other caps.
    fn announce(&self) {}

    /// Removes the region's name, unless the region is kept or the name leads to another region by now. False if the
    /// name may still lead to this region.
    fn remove_name(&self) -> bool;

    /// Whether the region's name leads to it. Where the file has lost its name and the name is free, the file gets it
    /// again. `None` too if that cannot be found out, and after [`remove_name`](Self::remove_name).
    fn check_name(&self) -> Option<LostName> {
        None
    }

    /// Unlocks the producer's lock: from now on consumers see that this producer has ended.
    fn end_generation(&self);

    /// Wakes the consumers that sleep on the region's wake word, which the caller has just changed. Bit i of `pages`
    /// stands for the consumer of page i. Snapshot consumers are always woken.
    fn wake(&self, word: &AtomicU32, pages: u64);

    /// Sleeps until one of the space words, through which consumers report free space, differs from its expected value,
    /// or `timeout` has passed. May return early.
    fn wait_for_space(&self, words: &[(&AtomicU32, u32)], timeout: Duration);

    /// Signals `event` when a consumer attaches, detaches or dies, until the watch is dropped. `None` if no such watch
    /// can be had: the caller must look at intervals.
    fn watch(&self, event: &Arc<Event>) -> Option<Watch>;
}

/// A region that a consumer has opened. Dropping it unlocks everything that was locked through it.
pub(crate) trait ConsumerRegion {
    /// Path or name of the region.
    fn path(&self) -> &Path;

    /// True if locks show whether peers are alive. False if only heartbeats do; every lock function then does nothing.
    fn has_locks(&self) -> bool {
        true
    }

    /// Identifies the region's memory.
    fn identity(&self) -> Identity;

    /// Size of the region when it was opened.
    fn bytes(&self) -> u64;

    /// Bytes of the region that are backed by memory now. A producer reserves its arena, so fewer bytes than the arena
    /// has contradict the header.
    fn backed_bytes(&self) -> u64;

    /// Whether the producer holds its lock. True if that cannot be found out: the next probe decides.
    fn producer_lives(&self) -> bool;

    /// Tries to lock consumer page `index` for this consumer. False if another process holds the lock.
    fn try_claim(&self, index: usize) -> io::Result<bool>;

    /// Unlocks consumer page `index`.
    fn unclaim(&self, index: usize);

    /// Shows the producer, until this value is dropped, that a snapshot consumer is attached. False if the platform has
    /// no way left to do so: this consumer is then not woken and looks at intervals.
    fn show_presence(&self) -> io::Result<bool>;

    /// Begins or ends a snapshot consumer's request of a frame that depends on no other. False if the platform has no way
    /// to show one.
    fn show_keyframe_request(&self, _is_requested: bool) -> bool {
        false
    }

    /// Signals every watch on the region, of its producer and of other consumers.
    fn notify_watchers(&self);

    /// Maps `bytes` of the region from `offset`. The caller has checked that they are inside [`bytes`](Self::bytes).
    fn map(&self, offset: u64, bytes: usize, writable: bool) -> Result<Mapping, AttachError>;

    /// Whether the memory still has the size it was opened with. A system shortens a file first and drops its pages
    /// then, so bytes that were read before this returned true did not come from a dropped page.
    fn is_whole(&self) -> bool;

    /// Fills `buffer` from `offset`. Memory that ends before is an error, never a signal.
    fn read_exact(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Sleeps until the region's wake word differs from `expected`, the event's value differs from the one given with
    /// it, or `timeout` has passed. The word's page may be gone; that is [`Wake::Fault`]. For one thread at a time.
    ///
    /// Without locks no other process can end the sleep, only the event: the caller polls instead.
    fn wait(&self, word: NonNull<AtomicU32>, expected: u32, event: (&Event, u32), timeout: Option<Duration>) -> Wake;

    /// Measured read speed of memory that may be mapped uncached, in bytes a second. `None` for ordinary memory.
    fn read_speed(&self) -> Option<u64> {
        None
    }

    /// Wakes a producer that waits for space. The caller has just changed the space word of its page.
    fn wake_producer(&self, space: &AtomicU32);

    /// Signals `event` when the producer may have ended, until the watch is dropped. `None` if no such watch can be
    /// had: the caller must probe at intervals.
    fn watch(&self, event: &Arc<Event>) -> Option<Watch>;
}

/// A mapped range of a region, unmapped when dropped. Access to the bytes goes through `crate::mapped` alone.
pub(crate) trait MappedBytes: Send + Sync {
    /// False in a forked child, where the bytes are not mapped.
    fn is_here(&self) -> bool {
        true
    }

    /// True once the file has lost pages that were touched through this mapping. Those pages read as zeros.
    fn is_broken(&self) -> bool;

    /// Address of the first byte, aligned to a page for an offset that is.
    fn base(&self) -> NonNull<u8>;

    /// Bytes mapped.
    fn len(&self) -> usize;

    /// A large frame will be written to this range of a whole region: puts it on larger pages, where that is possible.
    fn use_large_pages(&self, _offset: usize, _bytes: usize) {}
}

/// A counter of this process on which its threads can wait.
pub(crate) trait ProcessEvent: Default {
    /// Where each signal goes in addition.
    fn forward(&self) -> &Forward;

    /// Changes with each signal.
    fn value(&self) -> u32;

    /// Changes the value and wakes all waiters. A later wait for an older value returns at once.
    fn signal(&self);

    /// Sleeps until the value differs from `seen`, or `timeout` has passed. For any number of threads.
    fn wait(&self, seen: u32, timeout: Option<Duration>) -> Wake;

    /// Does the same for times well below a millisecond. For one thread at a time.
    fn nap(&self, seen: u32, time: Duration);
}

/// A running watch, ended when dropped.
pub(crate) trait ChangeWatch {
    /// False once the watch has ended by itself, for example because its directory was removed.
    fn is_alive(&self) -> bool;
}

/// Waits until a producer may have appeared at a name.
pub(crate) trait AwaitProducer: Default {
    /// Begins to report changes at the name through `event` or through [`wait`](Self::wait). True means that the caller
    /// must look once more before it waits: a producer may have appeared before the reports began.
    fn arm(&mut self, spec: &Spec, event: &Arc<Event>) -> bool;

    /// Whether the event is signalled whenever a producer may have appeared, unless the path leads elsewhere by then.
    fn reports_all(&self) -> bool {
        false
    }

    /// Longest time between two looks of a caller that does not [`wait`](Self::wait) here, but is told of the event's
    /// signals.
    fn interval(&self) -> Duration;

    /// Sleeps until a change is reported, the event's value differs from `seen`, or `timeout` has passed; for at most a
    /// short time where changes are not reported. The caller looks again in each case.
    fn wait(&self, event: &Event, seen: u32, timeout: Option<Duration>);
}

/// What a producer does with an existing file at its region's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Replaces it.
    No,
    /// Uses it, unless it is another user's in a directory where every user may make files.
    Own,
    /// Uses it.
    AnyOwner,
}

impl Keep {
    pub(crate) fn is_set(self) -> bool {
        self != Self::No
    }
}

/// Why new consumers cannot find a region whose producer is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LostName {
    /// Nothing is at the region's path: the file was removed, or its directory or mount is gone.
    Removed,
    /// Another file is at the region's path.
    Replaced,
}

impl fmt::Display for LostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Removed => "nothing is at its path any more",
            Self::Replaced => "another file is at its path",
        })
    }
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// A watched word or event changed, or the wait ended early.
    Signal,
    /// The time is over.
    Timeout,
    /// The word's page is gone.
    Fault,
    /// The producer may have ended.
    #[cfg_attr(any(not(windows), miri), expect(dead_code, reason = "elsewhere watches report the end of a producer"))]
    Gone,
}

/// Identifies memory: equal values mean the same region file, section or device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    namespace: u64,
    number: u64,
}

/// What differs when a file was changed by a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Stamp {
    pub(crate) identity: Identity,
    pub(crate) bytes: u64,
    /// Seconds and nanoseconds of the last change.
    pub(crate) changed: (i64, u64),
}

impl Identity {
    /// Memory `number` in a namespace: on Linux the inode of a file and the number of its file system's device.
    pub(super) fn new(namespace: u64, number: u64) -> Self {
        Self { namespace, number }
    }

    /// A device's memory, by its name. No file system has this namespace.
    #[cfg(not(miri))]
    pub(super) fn of_device(name: &str) -> Self {
        Self { namespace: u64::MAX, number: fnv1a(name.bytes()) }
    }
}
