//! The book over a clock of the tests' own and the real state machine.

use std::sync::Mutex;

use flotilla_cluster::lease::HOLDER_NS;
use flotilla_model::command::{Expire, InitCluster, PutNode, RegisterNode, RemoveNode};
use flotilla_model::{CommandId, Envelope, LogTime, WallTime};

use super::*;

const MS: u64 = 1_000_000;

#[derive(Default)]
struct Hands(Mutex<Clocks>);

impl Hands {
    fn advance(&self, boot: u64, raw: u64) {
        let mut clocks = self.0.lock().expect("no panic");
        clocks.boot += boot;
        clocks.raw += raw;
    }
}

impl Clock for Hands {
    fn now(&self) -> Clocks {
        *self.0.lock().expect("no panic")
    }
}

struct Bench {
    hands: Arc<Hands>,
    state: State,
    index: u64,
    book: LeaseBook,
    lease: watch::Sender<Option<Arc<Lease>>>,
    renewed: watch::Sender<u64>,
}

impl Bench {
    /// Node 1 of an initialised cluster, first start of its store.
    fn new() -> Self {
        let hands = Arc::new(Hands::default());
        hands.advance(1_000 * MS, 1_000 * MS);
        let book = LeaseBook::new(NodeId(1), 1, Arc::clone(&hands) as _);
        let (lease, renewed) = (watch::Sender::new(None), watch::Sender::new(0));
        let mut bench = Bench { hands, state: State::default(), index: 0, book, lease, renewed };
        bench.apply(Command::InitCluster(InitCluster { cluster_id: "test".into() })).expect("taken");
        let (name, peer_address) = ("node1".into(), "127.0.0.1:1".into());
        let (admin_address, sftp_address) = (String::new(), String::new());
        let put = PutNode { public_key: Vec::new(), node: NodeId(1), name, peer_address, admin_address, sftp_address };
        bench.apply(Command::PutNode(put)).expect("taken");
        bench
    }

    /// Applies without settling: as within a batch whose cuts are not effective yet.
    fn observe(&mut self, command: Command) -> Reply {
        self.index += 1;
        let envelope = Envelope { id: CommandId::Unnumbered, actor: "test".into(), command };
        let entry = Entry { time: LogTime(self.index), wall: WallTime(0), commands: vec![envelope] };
        let applied = self.state.apply(self.index, &entry);
        self.book.observe(&entry, &applied.replies, &self.state);
        applied.replies.into_iter().next().expect("one reply")
    }

    fn apply(&mut self, command: Command) -> Reply {
        let reply = self.observe(command);
        self.book.settle(&self.lease, &self.renewed);
        reply
    }

    fn register(&mut self) -> Arc<Lease> {
        let replaces = self.state.node(NodeId(1)).expect("its row").last_epoch;
        self.book.registration_sent(replaces);
        let (node, version) = (NodeId(1), "test".into());
        self.apply(Command::RegisterNode(RegisterNode { store: 1, nonce: 1, node, start: 1, replaces, version }))
            .expect("taken");
        self.lease.borrow().clone().expect("a lease")
    }

    /// Another member, which registers.
    fn join(&mut self, node: u64) {
        let (name, peer_address) = (format!("node{node}"), format!("127.0.0.1:{node}"));
        let (admin_address, sftp_address) = (String::new(), String::new());
        let (node, version, replaces) = (NodeId(node), "test".into(), Epoch(0));
        let put = PutNode { public_key: Vec::new(), node, name, peer_address, admin_address, sftp_address };
        self.apply(Command::PutNode(put)).expect("taken");
        let register = RegisterNode { store: 1, nonce: 1, node, start: 1, replaces, version };
        self.apply(Command::RegisterNode(register)).expect("taken");
    }

    fn renewal(&self, lease: &Lease, number: u64, leader_clock_ms: u64) -> Command {
        Command::Renew(Renew { term: 1, leader_clock_ms, renewals: vec![(NodeId(1), lease.epoch(), number)] })
    }
}

#[test]
fn a_holder_that_counts_less_than_the_leader_by_more_than_two_percent_stood_still() {
    assert!(!clocks_stood_still(1_470 * MS, 1_500 * MS));
    assert!(clocks_stood_still(1_470 * MS - 1, 1_500 * MS));
    assert!(!clocks_stood_still(2_000 * MS, 1_500 * MS));
}

#[test]
fn a_renewal_extends_from_its_own_first_send_and_only_when_settled() {
    let mut bench = Bench::new();
    let lease = bench.register();
    bench.hands.advance(1_500 * MS, 1_500 * MS);
    let number = bench.book.next_renewal(lease.epoch()).expect("a number");
    bench.hands.advance(400 * MS, 400 * MS);
    let later = bench.book.next_renewal(lease.epoch()).expect("a number");
    let before = lease.remaining_ns();
    bench.observe(bench.renewal(&lease, number, 0)).expect("taken");
    assert_eq!(lease.remaining_ns(), before, "not before the batch's cuts are effective");
    bench.book.settle(&bench.lease, &bench.renewed);
    assert_eq!(lease.remaining_ns(), HOLDER_NS - 400 * MS, "from the send of {number}, not of {later}");
    assert_eq!(*bench.renewed.borrow(), number);
}

#[test]
fn a_lease_past_its_deadline_is_not_revived_by_a_late_renewal() {
    let mut bench = Bench::new();
    let lease = bench.register();
    let number = bench.book.next_renewal(lease.epoch()).expect("a number");
    bench.hands.advance(0, HOLDER_NS);
    assert!(lease.is_dead(), "either clock ends it");
    bench.apply(bench.renewal(&lease, number, 0)).expect("taken");
    assert!(lease.is_dead());
    assert_eq!(bench.book.next_renewal(lease.epoch()), None, "and it asks for nothing more");
}

#[test]
fn an_expiry_that_stands_behind_a_renewal_in_one_batch_ends_the_lease() {
    let mut bench = Bench::new();
    let lease = bench.register();
    let number = bench.book.next_renewal(lease.epoch()).expect("a number");
    bench.observe(bench.renewal(&lease, number, 0)).expect("taken");
    let expire = Expire { node: NodeId(1), epoch: lease.epoch(), last_renewal: number };
    bench.observe(Command::Expire(expire)).expect("taken");
    assert!(lease.is_dead(), "at once, before the batch is published");
    bench.book.settle(&bench.lease, &bench.renewed);
    assert!(lease.is_dead());
}

#[test]
fn who_is_being_removed_drops_its_lease_at_once() {
    let mut bench = Bench::new();
    let lease = bench.register();
    (2..=4).for_each(|node| bench.join(node));
    let remove = |node| Command::RemoveNode(RemoveNode { node: NodeId(node), lost: false });
    bench.apply(remove(2)).expect("taken");
    assert!(!lease.is_dead(), "another one goes");
    let epoch = bench.state.node(NodeId(2)).expect("its row").last_epoch;
    bench.apply(Command::Expire(Expire { node: NodeId(2), epoch, last_renewal: 0 })).expect("taken");
    bench.observe(remove(1)).expect("taken");
    assert!(
        bench.state.node(NodeId(1)).is_some_and(|row| row.alive),
        "its slots are held until its lease would be over"
    );
    assert!(lease.is_dead());
}

#[test]
fn a_node_whose_clocks_stood_still_between_two_renewals_drops_its_lease() {
    let mut bench = Bench::new();
    let lease = bench.register();
    let first = bench.book.next_renewal(lease.epoch()).expect("a number");
    bench.apply(bench.renewal(&lease, first, 10_000)).expect("taken");
    bench.hands.advance(1_500 * MS, 1_500 * MS);
    let second = bench.book.next_renewal(lease.epoch()).expect("a number");
    bench.apply(bench.renewal(&lease, second, 11_500)).expect("taken");
    assert!(!lease.is_dead());
    bench.hands.advance(500 * MS, 500 * MS);
    let third = bench.book.next_renewal(lease.epoch()).expect("a number");
    bench.apply(bench.renewal(&lease, third, 13_000)).expect("taken");
    assert!(lease.is_dead(), "the leader counted 1,500 ms, this node 500");
}

#[test]
fn a_registration_counts_from_the_first_send_that_may_have_been_applied() {
    let mut bench = Bench::new();
    bench.book.registration_sent(Epoch(0));
    bench.hands.advance(1_000 * MS, 1_000 * MS);
    bench.book.registration_failed(Epoch(0), true);
    bench.book.registration_sent(Epoch(0));
    bench.hands.advance(1_000 * MS, 1_000 * MS);
    bench.book.registration_failed(Epoch(0), false);
    bench.book.registration_sent(Epoch(0));
    bench.hands.advance(1_000 * MS, 1_000 * MS);
    bench.book.registration_failed(Epoch(0), true);
    let lease = bench.register();
    assert_eq!(lease.remaining_ns(), HOLDER_NS - 2_000 * MS);
}

#[test]
fn a_registration_of_an_earlier_process_gives_no_lease() {
    let mut bench = Bench::new();
    bench.book = LeaseBook::new(NodeId(1), 2, Arc::clone(&bench.hands) as _);
    bench.book.registration_sent(Epoch(0));
    let late =
        RegisterNode { store: 1, nonce: 1, node: NodeId(1), start: 1, replaces: Epoch(0), version: "test".into() };
    bench.apply(Command::RegisterNode(late)).expect("taken");
    assert!(bench.lease.borrow().is_none());
}

#[test]
fn a_replica_notes_a_renewal_when_it_applies_it_and_after_a_snapshot_from_then() {
    let mut bench = Bench::new();
    let lease = bench.register();
    let registered = bench.book.note(NodeId(1)).expect("a note");
    bench.hands.advance(700 * MS, 700 * MS);
    bench.apply(bench.renewal(&lease, 1, 0)).expect("taken");
    let renewed = bench.book.note(NodeId(1)).expect("a note");
    assert_eq!((renewed.renewal, renewed.at.boot - registered.at.boot), (1, 700 * MS));
    bench.hands.advance(700 * MS, 700 * MS);
    bench.book.note_everything(&bench.state);
    assert_eq!(bench.book.note(NodeId(1)), Some(renewed), "what it saw itself it keeps");
    let mut fresh = LeaseBook::new(NodeId(2), 1, Arc::clone(&bench.hands) as _);
    fresh.note_everything(&bench.state);
    assert_eq!(fresh.note(NodeId(1)).expect("a note").at, bench.hands.now());
}
