//! Says of each reply whether the promises allow it, and takes the consequence in the reference.

use std::collections::BTreeSet;

use flotilla_model::command::*;
use flotilla_model::*;

use super::driver::{Driver, Sent};
use super::generate::changed;
use crate::reference::{CutAll, RefSession, RefUser, Verdict, concerns_logins, takes_away};

/// Requests after which a reply may be forgotten.
const REQUEST_WINDOW: u64 = 10_000;

impl Driver {
    pub fn judge(&mut self, sent: &Sent, reply: &Reply) {
        match sent.envelope.id {
            CommandId::Unnumbered => self.judge_new(sent, reply),
            CommandId::Request(_) => self.judge_request(sent, reply),
            CommandId::Node { node, epoch, number, .. } => {
                self.judge_number(sent, reply, SessionId { node, epoch, number });
            }
        }
    }

    fn expect(&self, ok: bool, sent: &Sent, reply: &Reply, why: &str) {
        if !ok {
            self.fail(&format!("{why}: {reply:?} to {:?}", sent.envelope));
        }
    }

    fn judge_request(&mut self, sent: &Sent, reply: &Reply) {
        let CommandId::Request(id) = sent.envelope.id else { self.fail("not a request") };
        let Some((first, count)) = self.requests.get(&id).cloned() else {
            self.judge_new(sent, reply);
            self.request_count += 1;
            self.requests.insert(id, (reply.clone(), self.request_count));
            if self.random.chance(5) {
                self.repeatable.push(sent.envelope.clone());
            }
            if self.repeatable.len() > 800 {
                let at = self.random.below(self.repeatable.len() as u64) as usize;
                self.repeatable.swap_remove(at);
            }
            return;
        };
        let age = self.request_count - count;
        if age + 100 < REQUEST_WINDOW {
            self.expect(*reply == first, sent, reply, "a repeated request answers otherwise");
            self.note("repeated request");
        } else if age > REQUEST_WINDOW + 100 {
            self.expect(*reply == Err(Refusal::RequestExpired), sent, reply, "a forgotten request was taken");
            self.note("request expired");
        }
    }

    fn judge_number(&mut self, sent: &Sent, reply: &Reply, session: SessionId) {
        let process = &self.processes[&session.node];
        if !process.alive || process.epoch != session.epoch {
            let closes = matches!(sent.envelope.command, Command::CloseSession(_));
            let stale = Err(Refusal::StaleEpoch { node: session.node, epoch: session.epoch });
            let expected = if closes { Ok(Done::Nothing) } else { stale };
            self.expect(*reply == expected, sent, reply, "a dead epoch speaks");
            self.note("stale epoch");
            return;
        }
        if let Some(first) = process.outcomes.get(&session.number) {
            let forgotten = *reply == Err(Refusal::NumberForgotten { number: session.number });
            self.expect(reply == first || forgotten, sent, reply, "a repeated number answers otherwise");
            self.note("repeated number");
            return;
        }
        self.judge_new(sent, reply);
        let process = self.processes.get_mut(&session.node).unwrap();
        process.unanswered.remove(&session.number);
        process.outcomes.insert(session.number, reply.clone());
    }

    fn judge_new(&mut self, sent: &Sent, reply: &Reply) {
        match &sent.envelope.command {
            Command::OpenSession(command) => self.judge_open(sent, reply, command),
            Command::CloseSession(command) => self.judge_close(sent, reply, command.session),
            Command::AddSlot(command) => self.judge_slot(sent, reply, command.session),
            Command::KillSession(command) => self.judge_kill(sent, reply, command.session),
            Command::CreateUser(command) => self.judge_create(sent, reply, command),
            Command::UpdateUser(command) => self.judge_update(sent, reply, command),
            Command::DeleteUser(command) => self.judge_delete(sent, reply, &command.username),
            Command::RegisterNode(command) => self.judge_registration(sent, reply, command),
            Command::Expire(command) => self.judge_expiry(command),
            Command::Renew(command) => self.judge_renewal(command),
            Command::Account(_) => self.note(if reply.is_ok() { "scan" } else { "scan refused" }),
            other => self.fail(&format!("never generated: {other:?}")),
        }
    }

    fn judge_open(&mut self, sent: &Sent, reply: &Reply, command: &OpenSession) {
        let CommandId::Node { node, epoch, number, .. } = sent.envelope.id else { self.fail("an open has no number") };
        let id = SessionId { node, epoch, number };
        let username = command.username.clone();
        if self.reference.closed_before.contains(&id) {
            let expected = Err(Refusal::SessionClosedBefore { session: id });
            return self.expect(*reply == expected, sent, reply, "an open after its close");
        }
        let cut_now = self.reference.users.get(&username).is_some_and(|user| user.cut_in_entry == self.index);
        if cut_now && matches!(reply, Err(Refusal::UserChanged { .. })) {
            return self.note("changed");
        }
        let verdict = self.reference.judge(&username, sent.view.unwrap(), self.wall);
        let (allowed, what) = match (&verdict, reply) {
            (Verdict::Opened, Ok(Done::Opened { session })) => (*session == id, "opened"),
            (Verdict::NoUser, Err(Refusal::UserNotFound { .. })) => (true, "no user"),
            (Verdict::Changed, Err(Refusal::UserChanged { .. })) => (true, "changed"),
            (Verdict::Disabled, Err(Refusal::UserDisabled { .. })) => (true, "disabled"),
            (Verdict::Expired, Err(Refusal::UserExpired { .. })) => (true, "user expired"),
            (Verdict::Full(slots), Err(Refusal::SessionLimitReached { in_use, holders, .. })) => {
                (in_use == slots && self.are_holders(&username, holders), "full")
            }
            _ => (false, ""),
        };
        self.expect(allowed, sent, reply, &format!("the verdict is {verdict:?}"));
        self.note(what);
        if verdict == Verdict::Opened {
            let session = RefSession { username, slots: 1, cut: false, entry: self.index };
            self.reference.sessions.insert(id, session);
        }
    }

    fn are_holders(&self, username: &Username, holders: &[flotilla_model::SlotHolder]) -> bool {
        let all = self.reference.sessions.iter().filter(|(_, session)| session.username == *username).count();
        let of_user =
            holders.iter().all(|h| self.reference.sessions.get(&h.session).is_some_and(|s| s.username == *username));
        of_user && holders.len() == all.min(16)
    }

    fn judge_close(&mut self, sent: &Sent, reply: &Reply, session: SessionId) {
        if self.reference.sessions.remove(&session).is_some() {
            self.note("closed");
            return self.expect(reply.is_ok(), sent, reply, "a close");
        }
        self.expect(*reply == Ok(Done::Nothing), sent, reply, "a close of what is not there");
        if !self.processes[&session.node].outcomes.contains_key(&session.number) {
            self.reference.closed_before.insert(session);
            self.note("closed first");
        }
    }

    fn judge_slot(&mut self, sent: &Sent, reply: &Reply, session: SessionId) {
        // The number of an open that was closed first is answered; another command never has it.
        let row = self.reference.sessions.get(&session).filter(|row| !row.cut).cloned();
        let Some(row) = row else {
            return self.expect(*reply == Err(Refusal::SessionNotFound { session }), sent, reply, "no such session");
        };
        if self.reference.is_full(&row.username) {
            let full = matches!(reply, Err(Refusal::SessionLimitReached { .. }));
            return self.expect(full, sent, reply, "the limit is reached");
        }
        self.expect(reply.is_ok(), sent, reply, "a slot is free");
        self.reference.sessions.get_mut(&session).unwrap().slots += 1;
    }

    fn judge_kill(&mut self, sent: &Sent, reply: &Reply, session: SessionId) {
        let Some(row) = self.reference.sessions.get_mut(&session) else {
            return self.expect(*reply == Err(Refusal::SessionNotFound { session }), sent, reply, "no such session");
        };
        row.cut = true;
        let named = matches!(reply, Ok(Done::Revoked { nodes, .. }) if *nodes == [session.node]);
        self.expect(named, sent, reply, "the session's node must confirm");
    }

    fn judge_create(&mut self, sent: &Sent, reply: &Reply, command: &CreateUser) {
        if self.reference.users.contains_key(&command.username) {
            return self.expect(matches!(reply, Err(Refusal::UserExists { .. })), sent, reply, "the user exists");
        }
        if self.reference.overlaps(&command.username, &command.spec) {
            self.note("overlap");
            return self.expect(matches!(reply, Err(Refusal::RootOverlaps { .. })), sent, reply, "the roots overlap");
        }
        self.expect(reply.is_ok(), sent, reply, "a new user");
        let (identity, login_state) = (self.reference.count(), self.reference.count());
        let user = RefUser { spec: command.spec.clone(), identity, login_state, cut_in_entry: 0 };
        self.reference.users.insert(command.username.clone(), user);
    }

    fn judge_update(&mut self, sent: &Sent, reply: &Reply, command: &UpdateUser) {
        let username = &command.username;
        let Some(user) = self.reference.users.get(username) else {
            return self.expect(matches!(reply, Err(Refusal::UserNotFound { .. })), sent, reply, "no such user");
        };
        if let Err(Refusal::RevisionMismatch { expected, .. }) = reply {
            return self.expect(Some(*expected) == command.expected_revision, sent, reply, "a condition");
        }
        let before = user.spec.clone();
        let after = changed(&before, sent.change.unwrap());
        if before == after {
            return self.expect(reply.is_ok(), sent, reply, "nothing changes");
        }
        if self.reference.overlaps(username, &after) {
            self.note("overlap");
            return self.expect(matches!(reply, Err(Refusal::RootOverlaps { .. })), sent, reply, "the roots overlap");
        }
        self.expect(reply.is_ok(), sent, reply, "a change");
        let login_state = self.reference.count();
        let user = self.reference.users.get_mut(username).unwrap();
        user.spec = after.clone();
        if concerns_logins(&before, &after) {
            user.login_state = login_state;
        }
        let must_confirm = self.consequence(username, &before, &after);
        let recalls = (before.quota_size, before.quota_files) != (after.quota_size, after.quota_files)
            || before.home != after.home;
        self.names(sent, reply, username, &must_confirm, recalls);
    }

    fn consequence(&mut self, username: &Username, before: &UserSpec, after: &UserSpec) -> BTreeSet<NodeId> {
        let entry = self.index;
        let lowered = after.max_sessions != 0 && (before.max_sessions == 0 || after.max_sessions < before.max_sessions);
        match takes_away(before, after, self.wall) {
            CutAll::Must => {
                self.note("cut all");
                self.reference.cut_all(username, entry)
            }
            CutAll::May if self.state.user_sessions(username).all(|s| self.state.session_cut(s).is_some()) => {
                self.reference.cut_all(username, entry);
                BTreeSet::new()
            }
            CutAll::MustNot if lowered => {
                let nodes = self.reference.cut_newest(username);
                if !nodes.is_empty() {
                    self.note("cut newest");
                }
                nodes
            }
            _ => BTreeSet::new(),
        }
    }

    /// The reply names the nodes that must confirm, and none that has no session of the user, or of the account and no grant in a recall.
    fn names(&self, sent: &Sent, reply: &Reply, username: &Username, must_confirm: &BTreeSet<NodeId>, recalls: bool) {
        let named: BTreeSet<NodeId> = match reply {
            Ok(Done::Revoked { nodes, .. }) => nodes.iter().copied().collect(),
            _ => BTreeSet::new(),
        };
        let concerned = self.reference.sessions.iter().filter(|(_, s)| recalls || s.username == *username);
        let mut holding: BTreeSet<NodeId> = concerned.map(|(id, _)| id.node).collect();
        if recalls && let Some(user) = self.state.user(username) {
            // Its sessions are gone and its grants are not: this driver returns none.
            let rows = self.state.account(user.account).into_iter().flat_map(|row| &row.holders);
            holding.extend(rows.filter(|(_, holder)| holder.outstanding().is_positive()).map(|(key, _)| key.0));
        }
        let right = must_confirm.is_subset(&named) && named.is_subset(&holding);
        self.expect(right, sent, reply, &format!("{must_confirm:?} must confirm, {holding:?} have sessions"));
    }

    fn judge_delete(&mut self, sent: &Sent, reply: &Reply, username: &Username) {
        if !self.reference.users.contains_key(username) {
            return self.expect(matches!(reply, Err(Refusal::UserNotFound { .. })), sent, reply, "no such user");
        }
        self.expect(reply.is_ok(), sent, reply, "a user goes");
        let must_confirm = self.reference.cut_all(username, self.index);
        self.reference.users.remove(username);
        self.names(sent, reply, username, &must_confirm, false);
    }

    fn judge_registration(&mut self, sent: &Sent, reply: &Reply, command: &RegisterNode) {
        let process = &self.processes[&command.node];
        let taken =
            process.epoch == command.replaces && command.start >= process.start && self.registered_in != self.index;
        self.expect(reply.is_ok() == taken, sent, reply, "a registration");
        if taken {
            self.note("registered");
            self.registered_in = self.index;
            self.reference.end_node(command.node);
            let process = self.processes.get_mut(&command.node).unwrap();
            *process = super::driver::Process {
                epoch: Epoch(self.index),
                alive: true,
                start: command.start,
                ..Default::default()
            };
        }
    }

    fn judge_expiry(&mut self, command: &Expire) {
        let process = self.processes.get_mut(&command.node).unwrap();
        if process.alive && process.epoch == command.epoch && process.renewal <= command.last_renewal {
            process.alive = false;
            self.reference.end_node(command.node);
            self.note("expired");
        }
    }

    fn judge_renewal(&mut self, command: &Renew) {
        for (node, epoch, number) in &command.renewals {
            let process = self.processes.get_mut(node).unwrap();
            if process.alive && process.epoch == *epoch {
                process.renewal = process.renewal.max(*number);
            }
        }
    }
}
