//! A holder and a leader whose clocks run at different rates, jump and stop: no lease is ended before its holder's own end.

use std::sync::Mutex;

use flotilla_cluster::lease::EXPIRY_NS;
use flotilla_model::command::{InitCluster, PutNode, RegisterNode};
use flotilla_model::{CommandId, Envelope, LogTime, WallTime};
use proptest::prelude::*;

use super::*;

const MS: u64 = 1_000_000;
/// The holder counts TTL(1 - rho), the leader TTL(1 + 2 rho) + margin: 6,620 to 5,940, so rates may differ by a ninth.
const SAFE_PER_MILLE: u64 = 111;

/// Both clocks of one machine: rates in parts per thousand of true time.
struct Machine {
    rates: (u64, u64),
    clocks: Mutex<Clocks>,
}

impl Machine {
    fn new(rates: (u64, u64)) -> Arc<Self> {
        Arc::new(Machine { rates, clocks: Mutex::new(Clocks { boot: 5_000 * MS, raw: 3_000 * MS }) })
    }

    fn pass(&self, true_ms: u64, stopped: (bool, bool)) {
        let mut clocks = self.clocks.lock().expect("no panic");
        clocks.boot += if stopped.0 { 0 } else { true_ms * MS / 1_000 * self.rates.0 };
        clocks.raw += if stopped.1 { 0 } else { true_ms * MS / 1_000 * self.rates.1 };
    }

    fn jump_boot(&self, ms: u64) {
        self.clocks.lock().expect("no panic").boot += ms * MS;
    }
}

impl Clock for Machine {
    fn now(&self) -> Clocks {
        *self.clocks.lock().expect("no panic")
    }
}

/// One replica's book on its own machine's clocks.
struct Replica {
    book: LeaseBook,
    state: State,
    lease: watch::Sender<Option<Arc<Lease>>>,
    renewed: watch::Sender<u64>,
}

impl Replica {
    fn new(node: u64, clock: Arc<Machine>) -> Self {
        let book = LeaseBook::new(NodeId(node), 1, clock);
        Replica { book, state: State::default(), lease: watch::Sender::new(None), renewed: watch::Sender::new(0) }
    }

    fn apply(&mut self, index: u64, command: &Command) -> Reply {
        let envelope = Envelope { id: CommandId::Unnumbered, actor: "test".into(), command: command.clone() };
        let entry = Entry { time: LogTime(index), wall: WallTime(0), commands: vec![envelope] };
        let applied = self.state.apply(index, &entry);
        self.book.observe(&entry, &applied.replies, &self.state);
        self.book.settle(&self.lease, &self.renewed);
        applied.replies.into_iter().next().expect("one reply")
    }
}

/// What happens to the clocks on the way.
#[derive(Clone, Copy, Debug)]
struct Weather {
    holder: (u64, u64),
    leader: (u64, u64),
    /// The boot clock of one machine jumps ahead by an hour at this ms.
    holder_jumps: Option<u64>,
    leader_jumps: Option<u64>,
    /// One clock of one machine stands still from this ms on.
    holder_stops: Option<u64>,
    leader_stops: Option<u64>,
    /// True ms from sending to the apply at the leader, and from there to the apply at the holder.
    ways: [(u64, u64); 4],
    /// This renewal is the last that gets through.
    last: usize,
}

fn first_commands() -> [Command; 3] {
    let put = PutNode {
        node: NodeId(1),
        public_key: Vec::new(),
        name: "node1".into(),
        peer_address: "127.0.0.1:1".into(),
        admin_address: String::new(),
        sftp_address: String::new(),
    };
    let register =
        RegisterNode { node: NodeId(1), store: 1, nonce: 1, start: 1, replaces: Epoch(0), version: "test".into() };
    [
        Command::InitCluster(InitCluster { cluster_id: "test".into() }),
        Command::PutNode(put),
        Command::RegisterNode(register),
    ]
}

/// Runs until the leader may end the lease; returns by how many true ms the holder had ended before, `Err` if it had not.
fn run(weather: Weather) -> Result<u64, u64> {
    let (holder_clock, leader_clock) = (Machine::new(weather.holder), Machine::new(weather.leader));
    let mut holder = Replica::new(1, Arc::clone(&holder_clock));
    let mut leader = Replica::new(2, Arc::clone(&leader_clock));
    holder.book.registration_sent(Epoch(0));
    for (number, command) in first_commands().iter().enumerate() {
        let index = number as u64 + 1;
        leader.apply(index, command).expect("taken");
        holder.apply(index, command).expect("taken");
    }
    let lease = holder.lease.borrow().clone().expect("a lease");
    // Due times in true ms: (when, index, command) for each side.
    let (mut at_leader, mut at_holder) = (Vec::new(), Vec::new());
    let (mut next_send, mut sent, mut ended) = (1_500, 0, None);
    for now in 0_u64..60_000 {
        let stops = |from: Option<u64>| (from.is_some_and(|from| now >= from), false);
        holder_clock.pass(1, stops(weather.holder_stops));
        leader_clock.pass(1, stops(weather.leader_stops));
        if weather.holder_jumps == Some(now) {
            holder_clock.jump_boot(3_600_000);
        }
        if weather.leader_jumps == Some(now) {
            leader_clock.jump_boot(3_600_000);
        }
        if now == next_send && sent <= weather.last && sent < weather.ways.len() {
            next_send = now + 1_500;
            if let Some(number) = holder.book.next_renewal(lease.epoch()) {
                let renewals = vec![(NodeId(1), lease.epoch(), number)];
                let command = Command::Renew(Renew { term: 1, leader_clock_ms: 0, renewals });
                let (there, back) = weather.ways[sent];
                at_leader.push((now + there, 4 + sent as u64, command.clone()));
                at_holder.push((now + there + back, 4 + sent as u64, command));
            }
            sent += 1;
        }
        for (_, index, command) in at_leader.extract_if(.., |(due, ..)| *due == now) {
            leader.apply(index, &command).expect("taken");
        }
        for (_, index, command) in at_holder.extract_if(.., |(due, ..)| *due == now) {
            holder.apply(index, &command).expect("taken");
        }
        if ended.is_none() && lease.is_dead() {
            ended = Some(now);
        }
        let note = leader.book.note(NodeId(1)).expect("a note");
        if leader_clock.now().smaller_since(note.at) >= EXPIRY_NS {
            return ended.map_or(Err(now), |ended| Ok(now - ended));
        }
    }
    Ok(u64::MAX)
}

fn weather(most: u64) -> impl Strategy<Value = Weather> {
    let slow = 900_u64..=1_000;
    let rates = slow.prop_flat_map(move |slow| {
        let within = slow..=slow * (1_000 + most) / 1_000;
        ((within.clone(), within.clone()), (within.clone(), within))
    });
    let at = || prop::option::of(0_u64..9_000);
    let ways = prop::array::uniform4((0_u64..1_400, 0_u64..100));
    (rates, at(), at(), at(), at(), ways, 0_usize..4).prop_map(
        |((holder, leader), holder_jumps, leader_jumps, holder_stops, leader_stops, ways, last)| Weather {
            holder,
            leader,
            holder_jumps,
            leader_jumps,
            holder_stops,
            leader_stops,
            ways,
            last,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn no_lease_is_ended_before_its_holders_own_end_whatever_the_clocks_do(weather in weather(SAFE_PER_MILLE)) {
        prop_assert!(run(weather).is_ok(), "{weather:?}");
    }
}

const CALM: Weather = Weather {
    holder: (1_000, 1_000),
    leader: (1_000, 1_000),
    holder_jumps: None,
    leader_jumps: None,
    holder_stops: None,
    leader_stops: None,
    ways: [(0, 0); 4],
    last: 3,
};

#[test]
fn with_equal_clocks_the_holder_ends_long_before_the_leader_acts() {
    let ahead = run(CALM).expect("in order");
    assert!((670..=690).contains(&ahead), "{ahead} ms");
}

#[test]
fn a_ninth_between_the_rates_is_safe_and_a_seventh_is_not() {
    assert!(run(Weather { leader: (1_111, 1_111), ..CALM }).is_ok());
    assert!(run(Weather { holder: (900, 900), ..CALM }).is_ok());
    assert!(
        run(Weather { leader: (1_143, 1_143), ..CALM }).is_err(),
        "this test can see a lease that is ended too early"
    );
}

#[test]
fn one_clock_that_jumps_ends_the_holder_at_once_and_hurries_no_leader() {
    let calm = run(CALM).expect("in order");
    let holder = run(Weather { holder_jumps: Some(2_000), ..CALM }).expect("in order");
    assert!(holder > calm, "the holder counts the larger: {holder} ms");
    assert_eq!(run(Weather { leader_jumps: Some(2_000), ..CALM }), Ok(calm), "the leader counts the smaller");
}

#[test]
fn one_clock_that_stands_still_keeps_no_lease_alive() {
    let calm = run(CALM).expect("in order");
    assert_eq!(run(Weather { holder_stops: Some(2_000), ..CALM }), Ok(calm), "the other clock ends it");
    assert_eq!(run(Weather { leader_stops: Some(2_000), ..CALM }), Ok(u64::MAX), "the leader waits, for good");
}
