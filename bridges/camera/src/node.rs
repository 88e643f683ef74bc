//! A node of PipeWire that programs see as a camera.

use crate::buffer::{Header, Last, Outgoing};
use crate::format::Format;
use crate::pixels::Target;
use crate::pods::{Pods, agreed};
use pipewire::core::CoreRc;
use pipewire::properties::properties;
use pipewire::spa::param::ParamType;
use pipewire::spa::utils::Direction;
use pipewire::stream::{Stream, StreamFlags, StreamListener, StreamRc, StreamState};
use shm2::monotonic_ns;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// How far a picture's time may be in the future: later ones would have to follow it.
const MOST_AHEAD_NS: u64 = 1_000_000_000;

/// What callbacks of the stream have reported.
#[derive(Default)]
struct Reported {
    is_used: Cell<bool>,
    /// Why the node is no camera any more.
    end: RefCell<Option<String>>,
    agreed: Cell<Option<Format>>,
    last: Rc<Last>,
}

impl Reported {
    fn changed(&self, stream: &Stream, new: StreamState) {
        let end = match new {
            // Of a request, such as that of a reader: the stream stays what it is.
            StreamState::Error(_) if matches!(stream.state(), StreamState::Paused | StreamState::Streaming) => return,
            StreamState::Error(error) => format!("PipeWire reports an error of its node: {error}"),
            StreamState::Unconnected => "PipeWire has removed its node".into(),
            new => return self.is_used.set(new == StreamState::Streaming),
        };
        self.is_used.set(false);
        self.end.replace(Some(end));
    }
}

pub struct Node {
    // Unregistered before the stream goes.
    _listener: StreamListener<()>,
    stream: StreamRc,
    reported: Rc<Reported>,
    /// The time of the last picture.
    time_ns: Cell<u64>,
}

impl Node {
    pub fn new(
        core: &CoreRc,
        name: &str,
        description: &str,
        region: &str,
        offers: &[Format],
        last: &Rc<Last>,
    ) -> Result<Self, pipewire::Error> {
        let properties = properties! {
            *pipewire::keys::MEDIA_CLASS => "Video/Source",
            *pipewire::keys::MEDIA_TYPE => "Video",
            *pipewire::keys::MEDIA_CATEGORY => "Capture",
            *pipewire::keys::MEDIA_ROLE => "Camera",
            *pipewire::keys::NODE_NAME => name,
            *pipewire::keys::NODE_DESCRIPTION => description,
            "shm2.region" => region,
        };
        let stream = StreamRc::new(core.clone(), name, properties)?;
        let reported = Rc::new(Reported { last: last.clone(), ..Reported::default() });
        let listener = listen(&stream, &reported)?;
        // This node sets the pace: a cycle of PipeWire begins with each frame.
        let flags = StreamFlags::DRIVER | StreamFlags::MAP_BUFFERS;
        stream.connect(Direction::Output, None, flags, &mut Pods::offers(offers).all())?;
        Ok(Self { _listener: listener, stream, reported, time_ns: Cell::default() })
    }

    /// Whether somebody reads.
    pub fn is_used(&self) -> bool {
        self.reported.is_used.get()
    }

    /// Why the node has to be made again, if it has.
    pub fn end(&self) -> Option<String> {
        self.reported.end.borrow().clone()
    }

    pub fn agreed(&self) -> Option<Format> {
        self.reported.agreed.get()
    }

    /// Offers other formats; the readers agree on one again.
    pub fn offer(&self, offers: &[Format]) {
        // Without PipeWire the node is made again anyway.
        let _ = self.stream.update_params(&mut Pods::offers(offers).all());
    }

    /// Sends a picture that `fill` writes. False while the readers have all buffers.
    ///
    /// # Errors
    /// Those of `fill`; then the readers get a dark picture.
    pub fn send(
        &self,
        target: &Target,
        header: Header,
        fill: impl FnOnce(&mut [u8]) -> Result<u32, String>,
    ) -> Result<bool, String> {
        let Some(mut outgoing) = Outgoing::dequeue(&self.stream) else { return Ok(false) };
        let filled = fill(outgoing.bytes());
        let bytes = match &filled {
            Ok(bytes) => *bytes,
            Err(_) => target.blank(outgoing.bytes()).unwrap_or_default(),
        };
        self.queue(outgoing, bytes, target, header);
        filled.map(|_| true)
    }

    /// Sends the last picture again; without one, a dark one.
    pub fn repeat(&self, target: &Target, header: Header) {
        let Some(mut outgoing) = Outgoing::dequeue(&self.stream) else { return };
        let repeated = outgoing.repeat(&self.reported.last, &target.format);
        let bytes = repeated.or_else(|| target.blank(outgoing.bytes())).unwrap_or_default();
        self.queue(outgoing, bytes, target, header);
    }

    pub fn forget_last(&self) {
        self.reported.last.forget();
    }

    fn queue(&self, outgoing: Outgoing<'_>, bytes: u32, target: &Target, header: Header) {
        // A frame may be older than the picture that was repeated before it, and its time is its producer's word.
        let time_ns = header.time_ns.min(monotonic_ns().saturating_add(MOST_AHEAD_NS)).max(self.time_ns.get() + 1);
        self.time_ns.set(time_ns);
        let header = Header { time_ns, ..header };
        outgoing.send(bytes, target, header, &self.reported.last);
        // The node may be stopped meanwhile; then there is no cycle to begin.
        let _ = self.stream.trigger_process();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // The buffers go, and nothing is reported of that any more.
        self.reported.last.keep();
    }
}

fn listen(stream: &Stream, reported: &Rc<Reported>) -> Result<StreamListener<()>, pipewire::Error> {
    let (state, format, buffers) = (reported.clone(), reported.clone(), reported.clone());
    let listener = stream.add_local_listener::<()>();
    let listener = listener.state_changed(move |stream, (), _, new| state.changed(stream, new));
    let listener = listener.param_changed(move |stream, (), id, pod| {
        if id != ParamType::Format.as_raw() {
            return;
        }
        let new = pod.and_then(agreed);
        format.last.keep();
        format.agreed.set(new);
        if let Some(new) = new {
            // The loop reports a failure as an error of the stream.
            let _ = stream.update_params(&mut Pods::buffers(&new).all());
        }
    });
    listener.remove_buffer(move |_, (), buffer| buffers.last.removed(buffer)).register()
}
