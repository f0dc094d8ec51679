//! Metrics of the replicated core, `flotilla_raft_*`.

use flotilla_model::Envelope;
use metrics::{counter, gauge, histogram};

pub fn fsync() {
    counter!("flotilla_raft_fsyncs_total").increment(1);
}

/// How long a group took until it was on the disk.
pub fn log_write(took: std::time::Duration) {
    histogram!("flotilla_raft_log_write_seconds").record(took.as_secs_f64());
}

/// Counts an entry and its commands by kind, at the leader that proposes it.
pub fn proposed(commands: &[Envelope]) {
    counter!("flotilla_raft_entries_total").increment(1);
    for envelope in commands {
        counter!("flotilla_raft_commands_total", "kind" => kind(&envelope.command)).increment(1);
    }
}

/// How long a renewal took from its first send until it was applied at its node.
pub fn renewed(took: std::time::Duration) {
    histogram!("flotilla_raft_renewal_seconds").record(took.as_secs_f64());
}

pub fn leadership(term: u64, leader: Option<u64>) {
    gauge!("flotilla_raft_term").set(term as f64);
    gauge!("flotilla_raft_leader").set(leader.unwrap_or(0) as f64);
}

pub fn applied(index: u64, took: std::time::Duration) {
    gauge!("flotilla_raft_applied").set(index as f64);
    histogram!("flotilla_raft_apply_seconds").record(took.as_secs_f64());
}

/// Entries up to this index are gone from this node's log.
pub fn purged(index: u64) {
    gauge!("flotilla_raft_purged").set(index as f64);
}

fn kind(command: &flotilla_model::Command) -> &'static str {
    use flotilla_model::Command::*;
    match command {
        InitCluster(_) => "init_cluster",
        PutNode(_) => "put_node",
        RegisterNode(_) => "register_node",
        Renew(_) => "renew",
        Expire(_) => "expire",
        CreateUser(_) => "create_user",
        UpdateUser(_) => "update_user",
        ReplaceUser(_) => "replace_user",
        DeleteUser(_) => "delete_user",
        OpenSession(_) => "open_session",
        AddSlot(_) => "add_slot",
        CloseSession(_) => "close_session",
        KillSession(_) => "kill_session",
        Account(_) => "account",
        MakeJoinToken(_) | AdmitNode(_) | RemoveNode(_) => "membership",
        _ => "settings",
    }
}
