//! Logs of a model and the states that they lead to: each log is applied once, by the product's `State::apply`.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex};

use flotilla_model::command::{InitCluster, PutNode, RegisterNode};
use flotilla_model::{
    Applied, Command, CommandId, Entry, Envelope, Epoch, LogIndex, LogTime, NodeId, Reply, State, WallTime,
};

/// What a model writes for a log entry.
pub trait Symbol: Clone + Eq + Hash + Send + Sync {
    fn envelope(&self) -> Envelope;
}

/// A log's last entry, what it answered, and the state behind it.
pub struct Point {
    pub index: LogIndex,
    pub entry: Entry,
    pub applied: Applied,
    pub state: Arc<State>,
}

impl Point {
    pub fn reply(&self) -> &Reply {
        &self.applied.replies[0]
    }
}

pub struct Logs<S> {
    base: Arc<Point>,
    points: Mutex<HashMap<Vec<S>, Arc<Point>>>,
}

impl<S: Symbol> Logs<S> {
    /// Logs that begin behind these commands.
    pub fn behind(commands: impl IntoIterator<Item = Envelope>) -> Self {
        let mut state = State::default();
        let mut last = None;
        for (number, envelope) in commands.into_iter().enumerate() {
            let index = number as LogIndex + 1;
            let entry = entry(index, envelope);
            let applied = state.apply(index, &entry);
            assert!(applied.replies[0].is_ok(), "{:?}", applied.replies);
            last = Some((index, entry, applied));
        }
        let (index, entry, applied) = last.expect("a command at least");
        let base = Point { index, entry, applied, state: Arc::new(state) };
        Logs { base: Arc::new(base), points: Mutex::default() }
    }

    pub fn base(&self) -> &Arc<Point> {
        &self.base
    }

    /// The end of a log.
    pub fn at(&self, log: &[S]) -> Arc<Point> {
        let Some((last, before)) = log.split_last() else { return Arc::clone(&self.base) };
        if let Some(point) = self.points.lock().expect("no panic while locked").get(log) {
            return Arc::clone(point);
        }
        let before = self.at(before);
        let index = before.index + 1;
        let entry = entry(index, last.envelope());
        let mut state = State::clone(&before.state);
        let applied = state.apply(index, &entry);
        let point = Arc::new(Point { index, entry, applied, state: Arc::new(state) });
        self.points.lock().expect("no panic while locked").insert(log.to_vec(), Arc::clone(&point));
        point
    }
}

fn entry(index: LogIndex, envelope: Envelope) -> Entry {
    Entry { time: LogTime(index), wall: WallTime(1_700_000_000_000 + index), commands: vec![envelope] }
}

pub fn unnumbered(command: Command) -> Envelope {
    Envelope { id: CommandId::Unnumbered, actor: "check".into(), command }
}

/// An initialised cluster with this many nodes, none registered.
pub fn cluster(nodes: u64) -> Vec<Envelope> {
    let init = Command::InitCluster(InitCluster { cluster_id: "check".into() });
    let put = |node: u64| {
        Command::PutNode(PutNode {
            node: NodeId(node),
            public_key: Vec::new(),
            name: format!("node{node}"),
            peer_address: format!("127.0.0.{node}:1"),
            admin_address: String::new(),
            sftp_address: String::new(),
        })
    };
    std::iter::once(init).chain((1..=nodes).map(put)).map(unnumbered).collect()
}

/// A process of a node asks for an epoch.
pub fn register(node: u64, start: u64, replaces: u64) -> Command {
    Command::RegisterNode(RegisterNode {
        node: NodeId(node),
        store: u128::from(node),
        start,
        nonce: u128::from(start),
        replaces: Epoch(replaces),
        version: "check".into(),
    })
}
