//! iceoryx2: publish-subscribe, and an event beside it for a receiver that sleeps.

use crate::Result;
use crate::way::{Inbound, LIMIT, Outbound};
use iceoryx2::node::Node;
use iceoryx2::port::ReceiveError;
use iceoryx2::port::{listener::Listener, notifier::Notifier, publisher::Publisher, subscriber::Subscriber};
use iceoryx2::prelude::*;
use iceoryx2::sample::Sample;
use iceoryx2::service::port_factory::PortFactory as _;
use iceoryx2::service::port_factory::publish_subscribe::PortFactory;

type Service = ipc::Service;

/// Frames that are held at a time: the current one, and the one before while it is replaced.
const HELD: usize = 2;

fn service(node: &Node<Service>, name: &str, depth: usize) -> Result<PortFactory<Service, [u8], ()>> {
    let builder = node.service_builder(&name.try_into()?).publish_subscribe::<[u8]>();
    let builder = builder.enable_safe_overflow(false).history_size(0).payload_alignment(Alignment::new(64).unwrap());
    let builder = builder.subscriber_max_buffer_size(depth).subscriber_max_borrowed_samples(HELD);
    Ok(builder.max_subscribers(1).max_publishers(1).max_nodes(2).open_or_create()?)
}

pub(crate) struct Out {
    publisher: Publisher<Service, [u8], ()>,
    notifier: Notifier<Service>,
    service: PortFactory<Service, [u8], ()>,
    _node: Node<Service>,
}

impl Outbound for Out {
    fn create(name: &str, bytes: usize, depth: usize, _: Option<u64>) -> Result<Self> {
        set_log_level(LogLevel::Error);
        let node = NodeBuilder::new().create::<Service>()?;
        let service = service(&node, name, depth)?;
        let publisher = service.publisher_builder().initial_max_slice_len(bytes);
        let publisher = publisher.backpressure_strategy(BackpressureStrategy::RetryUntilDelivered).create()?;
        let event = node.service_builder(&name.try_into()?).event().open_or_create()?;
        Ok(Self { publisher, notifier: event.notifier_builder().create()?, service, _node: node })
    }

    fn wait_for_receiver(&mut self) {
        while self.service.dynamic_config().number_of_subscribers() == 0 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    #[inline]
    #[expect(unsafe_code, reason = "the payload is left as it is, as with the others")]
    fn send(&mut self, bytes: usize, wakes: bool, fill: impl FnOnce(*mut u8)) -> Result<()> {
        let mut sample = self.publisher.loan_slice_uninit(bytes)?;
        fill(sample.payload_mut().as_mut_ptr().cast());
        // SAFETY: shared memory is initialised by the kernel.
        unsafe { sample.assume_init() }.send()?;
        if wakes {
            self.notifier.notify()?;
        }
        Ok(())
    }
}

pub(crate) struct In {
    subscriber: Subscriber<Service, [u8], ()>,
    listener: Option<Listener<Service>>,
    _node: Node<Service>,
}

impl Inbound for In {
    type Frame = Sample<Service, [u8], ()>;
    type Error = ReceiveError;

    fn open(name: &str, _: usize, depth: usize, sleeps: bool) -> Result<Self> {
        set_log_level(LogLevel::Error);
        let node = NodeBuilder::new().create::<Service>()?;
        let event = node.service_builder(&name.try_into()?).event().open_or_create()?;
        let listener = sleeps.then(|| event.listener_builder().create()).transpose()?;
        let subscriber = service(&node, name, depth)?.subscriber_builder().create()?;
        Ok(Self { subscriber, listener, _node: node })
    }

    #[inline(always)]
    fn try_take(&mut self) -> std::result::Result<Option<Self::Frame>, ReceiveError> {
        self.subscriber.receive()
    }

    fn wait_take(&mut self) -> Result<Self::Frame> {
        loop {
            if let Some(sample) = self.subscriber.receive()? {
                return Ok(sample);
            }
            let listener = self.listener.as_ref().ok_or("no listener")?;
            if listener.timed_wait(|_| {}, LIMIT)? == 0 {
                return Err("iceoryx2: no event came".into());
            }
        }
    }

    #[inline]
    fn payload(frame: &Self::Frame) -> (*const u8, usize) {
        let payload = frame.payload();
        (payload.as_ptr(), payload.len())
    }
}
