//! A panic ends what it happened in, and nothing else: a job its request, a session its connection. The slot comes back, the log has it.

use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span};

use crate::world::{World, eventually};
use crate::{client, openssh};

/// Panics once, where the product logs with this `sender`: a fault in the middle of its code. Keeps what was logged as an error.
#[derive(Clone)]
struct Fault {
    sender: &'static str,
    armed: Arc<AtomicBool>,
    errors: Arc<Mutex<String>>,
}

impl Fault {
    fn at(sender: &'static str) -> Self {
        Fault { sender, armed: Arc::default(), errors: Arc::default() }
    }

    fn errors(&self) -> String {
        self.errors.lock().unwrap().clone()
    }
}

#[derive(Default)]
struct Seen {
    sender: String,
    message: String,
}

impl Visit for Seen {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "sender" {
            self.sender = value.to_owned();
        }
    }
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        }
    }
}

impl Subscriber for Fault {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("flotilla")
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut seen = Seen::default();
        event.record(&mut seen);
        if *event.metadata().level() == tracing::Level::ERROR {
            self.errors.lock().unwrap().push_str(&seen.message);
        }
        assert!(!(seen.sender == self.sender && self.armed.swap(false, Ordering::SeqCst)), "a planted fault");
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[tokio::test]
async fn a_panic_in_a_job_fails_its_request_and_nothing_else() {
    let fault = Fault::at("Mkdir");
    let _planted = tracing::subscriber::set_default(fault.clone());
    let world = World::build().await;
    fault.armed.store(true, Ordering::SeqCst);
    let said = openssh::batch(&world, "-mkdir a\nmkdir b\nls -1\n").await.success();
    assert!(!fault.armed.load(Ordering::SeqCst), "the fault happened");
    assert!(said.err.contains("mkdir \"/a\": Failure"), "its request failed: {}", said.err);
    assert!(said.out.lines().any(|line| line.trim() == "b"), "the session went on: {}", said.out);
    assert!(fault.errors().contains("a job panicked"), "{}", fault.errors());
    eventually("the slot is back", || world.sessions() == 0).await;
}

#[tokio::test]
async fn a_panic_in_a_session_ends_it_alone_and_frees_its_slot() {
    let fault = Fault::at("login");
    let _planted = tracing::subscriber::set_default(fault.clone());
    let world = World::build().await;
    let other = client::logged_in(&world).await;
    let sftp = client::sftp(&other).await;
    fault.armed.store(true, Ordering::SeqCst);
    assert!(!openssh::batch(&world, "pwd\n").await.ok, "its login fell into the fault");
    assert!(!fault.armed.load(Ordering::SeqCst), "the fault happened");
    eventually("the slot is back", || world.sessions() == 1).await;
    eventually("it is in the log", || fault.errors().contains("a session panicked")).await;
    sftp.create("still-here").await.unwrap();
    openssh::batch(&world, "ls\n").await.success();
}
