//! What goes wrong, and when, by the seed: processes, power, links, disks, pauses, and what operators do at the wrong moment.

use flotilla_model::{Epoch, LogIndex};
use serde::{Deserialize, Serialize};

use crate::net::{Link, Net};
use crate::node::{Node, Pause};
use crate::oracle::Oracle;
use crate::rng::Rng;

/// What is to be undone.
enum Undo {
    Start(usize),
    Resume(usize),
    Links,
    /// A node hears again.
    Hear(usize),
    /// It is cut off again once it has applied so much, or at this time.
    CutAgain(usize, LogIndex, u64),
    /// It is back, with the epoch that it held when it was cut off.
    Back(usize, Option<Epoch>),
    Disk(usize),
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct FaultCounts {
    pub kills: u64,
    pub power_cuts: u64,
    pub pauses: u64,
    /// Leaders that were suspended until another was elected, and woke in the belief that they lead.
    pub overtaken: u64,
    pub links: u64,
    pub flaps: u64,
    /// Flaps in which the node had caught up before it was cut off again …
    pub caught_up: u64,
    /// … and lost its lease in the log meanwhile.
    pub ended_cut: u64,
    pub disks: u64,
    pub snapshots: u64,
    pub transfers: u64,
}

impl FaultCounts {
    pub fn total(self) -> u64 {
        self.kills
            + self.power_cuts
            + self.pauses
            + self.links
            + self.flaps
            + self.disks
            + self.snapshots
            + self.transfers
    }

    pub fn add(&mut self, other: FaultCounts) {
        self.kills += other.kills;
        self.power_cuts += other.power_cuts;
        self.pauses += other.pauses;
        self.overtaken += other.overtaken;
        self.links += other.links;
        self.flaps += other.flaps;
        self.caught_up += other.caught_up;
        self.ended_cut += other.ended_cut;
        self.disks += other.disks;
        self.snapshots += other.snapshots;
        self.transfers += other.transfers;
    }
}

pub struct Faults {
    rng: Rng,
    net: Net,
    next_at: u64,
    /// Longest pause between two faults, in ms.
    pace: u64,
    undo: Vec<(u64, Undo)>,
    pub counts: FaultCounts,
}

impl Faults {
    pub fn new(mut rng: Rng, net: Net) -> Self {
        let pace = rng.between(500, 6_000);
        Faults { rng, net, next_at: 1_000, pace, undo: Vec::new(), counts: FaultCounts::default() }
    }

    pub fn tick(&mut self, now: u64, nodes: &mut [Node], oracle: &Oracle) {
        let (due, later) = std::mem::take(&mut self.undo).into_iter().partition(|(at, _)| *at <= now);
        self.undo = later;
        let due: Vec<(u64, Undo)> = due;
        for (_, undo) in due {
            self.undone(now, undo, nodes, oracle);
        }
        self.restart_failed(now, nodes, oracle);
        if now >= self.next_at {
            self.next_at = now + self.rng.between(50, self.pace);
            self.inject(now, nodes, oracle);
        }
    }

    /// Everything works again from here on.
    pub fn end(&mut self, now: u64, nodes: &mut [Node], oracle: &Oracle) {
        oracle.note(|| "faults end".to_owned());
        for (_, undo) in std::mem::take(&mut self.undo) {
            self.undone(now, undo, nodes, oracle);
        }
        self.undo.clear();
        self.net.heal();
    }

    /// A process whose disk failed ends itself and is started again, as systemd does. What was not synced is gone.
    pub fn restart_failed(&mut self, now: u64, nodes: &mut [Node], oracle: &Oracle) {
        if !now.is_multiple_of(20) {
            return;
        }
        for (at, node) in nodes.iter_mut().enumerate() {
            let failed = node.runs() && node.core().is_some_and(|core| core.shared.failed.borrow().is_some());
            if failed {
                oracle.note(|| format!("node {} ends: its store failed", node.id));
                node.power_cut();
                self.undo.push((now + 300, Undo::Start(at)));
            }
        }
    }

    fn undone(&mut self, now: u64, undo: Undo, nodes: &mut [Node], oracle: &Oracle) {
        match undo {
            Undo::Start(at) if !nodes[at].is_up() => nodes[at].start(),
            Undo::Start(_) => {}
            Undo::Resume(at) => {
                oracle.note(|| format!("node {} goes on", nodes[at].id));
                let suspended = nodes[at].paused.take() == Some(Pause::Suspend);
                let leads = nodes[at].leads().is_some_and(|term| term < oracle.last_term());
                self.counts.overtaken += u64::from(suspended && leads);
            }
            Undo::Links => {
                oracle.note(|| "links heal".to_owned());
                self.net.heal();
            }
            Undo::Hear(at) => {
                oracle.note(|| format!("node {} hears again", nodes[at].id));
                self.net.heal();
                self.undo.push((now + 1, Undo::CutAgain(at, oracle.last_index(), now + 2_500)));
            }
            Undo::CutAgain(at, missed, latest) => self.cut_again(now, at, missed, latest, nodes, oracle),
            Undo::Back(at, epoch) => {
                let node = nodes[at].id;
                self.counts.ended_cut += u64::from(epoch.is_some_and(|epoch| oracle.has_ended(node, epoch)));
                oracle.note(|| format!("node {node} is back"));
                self.net.heal();
            }
            Undo::Disk(at) => nodes[at].disk.set_slow(0),
        }
    }

    fn inject(&mut self, now: u64, nodes: &mut [Node], oracle: &Oracle) {
        match self.rng.below(100) {
            0..=16 => self.kill(now, nodes, oracle),
            17..=28 => self.cut_power(now, nodes, oracle),
            29..=42 => self.pause(now, nodes, oracle),
            43..=69 if self.is_flapping() => {}
            43..=49 => self.flap(now, nodes, oracle),
            50..=69 => self.break_links(now, nodes, oracle),
            70..=81 => self.hurt_disk(now, nodes, oracle),
            82..=91 => self.snapshot(nodes, oracle),
            _ => self.transfer(nodes, oracle),
        }
    }

    /// One in three faults strikes the leader.
    fn victim(&mut self, nodes: &[Node]) -> usize {
        let leader = nodes.iter().position(|node| node.leads().is_some());
        match leader {
            Some(leader) if self.rng.permille(350) => leader,
            _ => self.rng.below(nodes.len() as u64) as usize,
        }
    }

    /// How long something is gone: often within an election timeout, sometimes past a lease.
    fn outage(&mut self) -> u64 {
        match self.rng.below(10) {
            0..=3 => self.rng.between(5, 250),
            4..=7 => self.rng.between(250, 3_000),
            _ => self.rng.between(3_000, 15_000),
        }
    }

    fn kill(&mut self, now: u64, nodes: &mut [Node], oracle: &Oracle) {
        let at = self.victim(nodes);
        if nodes[at].is_up() {
            oracle.note(|| format!("node {} is killed", nodes[at].id));
            nodes[at].kill();
            self.counts.kills += 1;
            let after = self.outage();
            self.undo.push((now + after, Undo::Start(at)));
        }
    }

    fn cut_power(&mut self, now: u64, nodes: &mut [Node], oracle: &Oracle) {
        let all = self.rng.permille(300);
        let one = self.victim(nodes);
        for (at, node) in nodes.iter_mut().enumerate() {
            if node.is_up() && (all || at == one) {
                oracle.note(|| format!("node {} loses power", node.id));
                node.power_cut();
                self.counts.power_cuts += 1;
                let after = self.outage().min(5_000);
                self.undo.push((now + after, Undo::Start(at)));
            }
        }
    }

    fn pause(&mut self, now: u64, nodes: &mut [Node], oracle: &Oracle) {
        let at = self.victim(nodes);
        if !nodes[at].runs() {
            return;
        }
        let suspends = if nodes[at].leads().is_some() { 500 } else { 250 };
        let pause = if self.rng.permille(suspends) { Pause::Suspend } else { Pause::Stop };
        let long = self.rng.between(6_000, 18_000);
        let after = if self.rng.permille(300) { long } else { self.outage() };
        oracle.note(|| format!("node {} stands still: {pause:?} {after} ms", nodes[at].id));
        nodes[at].paused = Some(pause);
        self.counts.pauses += 1;
        self.undo.push((now + after, Undo::Resume(at)));
    }

    fn break_links(&mut self, now: u64, nodes: &[Node], oracle: &Oracle) {
        let ids: Vec<u64> = nodes.iter().map(|node| node.id).collect();
        let kind = self.rng.below(6);
        oracle.note(|| format!("links break: {kind}"));
        self.net.heal();
        self.counts.links += 1;
        let cut = Link { cut: true, ..Link::default() };
        let one = ids[self.victim(nodes)];
        let mut order = ids.clone();
        self.rng.shuffle(&mut order);
        let half = order.len() / 2;
        let lost = Link { lost: self.rng.between(20, 400), ..Link::default() };
        let slow = Link { slow_ms: self.rng.between(20, 400), ..Link::default() };
        let incoming = self.rng.permille(500);
        for from in &ids {
            for to in ids.iter().filter(|to| *to != from) {
                let side = |id: &u64| order.iter().position(|one| one == id).is_some_and(|at| at < half);
                let link = match kind {
                    // Halves; one alone; one that only hears or is only heard.
                    0 if side(from) != side(to) => cut,
                    1 if *from == one || *to == one => cut,
                    2 if (incoming && *to == one) || (!incoming && *from == one) => cut,
                    // A bridge: everybody sees only the first of the order.
                    3 if *from != order[0] && *to != order[0] => cut,
                    4 => lost,
                    5 => slow,
                    _ => continue,
                };
                self.net.set_link(*from, *to, link);
            }
        }
        let after = self.outage();
        self.undo.push((now + after, Undo::Links));
    }

    /// A node is cut off, or only hears nothing, hears late what it missed, and is cut off as soon as it has.
    fn flap(&mut self, now: u64, nodes: &[Node], oracle: &Oracle) {
        let at = self.victim(nodes);
        self.counts.flaps += 1;
        let deaf = self.rng.permille(600);
        self.undo.retain(|(_, undo)| !matches!(undo, Undo::Links));
        self.net.heal();
        self.isolate(nodes[at].id, deaf, nodes, oracle);
        let back = now + self.rng.between(700, 4_000);
        self.undo.push((back, Undo::Hear(at)));
    }

    /// What belongs together is not disturbed by other links.
    fn is_flapping(&self) -> bool {
        self.undo.iter().any(|(_, undo)| matches!(undo, Undo::Hear(_) | Undo::CutAgain(..) | Undo::Back(..)))
    }

    fn cut_again(&mut self, now: u64, at: usize, missed: LogIndex, latest: u64, nodes: &[Node], oracle: &Oracle) {
        let node = &nodes[at];
        let caught_up = oracle.applied_by(node.id) >= missed;
        if !caught_up && now < latest {
            return self.undo.push((now + 1, Undo::CutAgain(at, missed, latest)));
        }
        self.counts.caught_up += u64::from(caught_up);
        self.isolate(node.id, false, nodes, oracle);
        let lease = node.with_core(|core| core.shared.lease.borrow().clone()).flatten();
        let after = self.rng.between(3_000, 11_000);
        self.undo.push((now + after, Undo::Back(at, lease.map(|lease| lease.epoch()))));
    }

    fn isolate(&self, one: u64, only_deaf: bool, nodes: &[Node], oracle: &Oracle) {
        oracle.note(|| format!("node {one} is cut off, deaf only: {only_deaf}"));
        let cut = Link { cut: true, ..Link::default() };
        for other in nodes.iter().filter(|node| node.id != one) {
            self.net.set_link(one, other.id, if only_deaf { Link::default() } else { cut });
            self.net.set_link(other.id, one, cut);
        }
    }

    fn hurt_disk(&mut self, now: u64, nodes: &[Node], oracle: &Oracle) {
        let at = self.victim(nodes);
        self.counts.disks += 1;
        if self.rng.permille(250) {
            oracle.note(|| format!("node {}: the next sync fails", nodes[at].id));
            nodes[at].disk.fail_next_sync();
        } else {
            let ms = self.rng.between(5, 600);
            oracle.note(|| format!("node {}: a slow disk, {ms} ms", nodes[at].id));
            nodes[at].disk.set_slow(ms);
            let after = self.outage();
            self.undo.push((now + after, Undo::Disk(at)));
        }
    }

    fn snapshot(&mut self, nodes: &[Node], oracle: &Oracle) {
        let node = &nodes[self.victim(nodes)];
        if let (true, Some(core), Some(runtime)) = (node.runs(), node.core(), node.runtime()) {
            oracle.note(|| format!("node {} is asked for a snapshot", node.id));
            self.counts.snapshots += 1;
            runtime.spawn(async move { core.raft.trigger().snapshot().await.is_ok() });
        }
    }

    fn transfer(&mut self, nodes: &[Node], oracle: &Oracle) {
        let to = nodes[self.rng.below(nodes.len() as u64) as usize].id;
        let leads = |node: &&Node| node.runs() && node.core().is_some_and(|core| core.raft.is_leader());
        let Some(node) = nodes.iter().find(leads) else { return };
        if let (Some(core), Some(runtime)) = (node.core(), node.runtime()) {
            oracle.note(|| format!("node {} is to hand over to {to}", node.id));
            self.counts.transfers += 1;
            runtime.spawn(async move { core.raft.trigger().transfer_leader(to).await.is_ok() });
        }
    }
}
