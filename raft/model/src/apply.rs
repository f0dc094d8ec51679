//! `State::apply`: takes one log entry, answers its commands, in order, and sweeps a slice of what is dead.

mod account;
mod add_slot;
mod admit_node;
mod adopt_storage;
mod change_of_role;
mod change_user;
mod close_session;
mod create_user;
mod cut;
mod delete_token;
mod delete_user;
mod expire;
mod init_cluster;
mod issue_token;
mod kept;
mod kill_session;
mod make_join_token;
mod marker_written;
mod narrowing;
mod note;
mod once;
mod open_session;
mod put_api_key;
mod put_node;
mod put_secret;
mod put_token;
mod register_node;
mod remove_node;
mod renew;
mod replace_user;
mod reseal_secrets;
mod root;
mod scope;
mod sweep;
mod tokens;
mod update_user;
mod validate;

pub(crate) use account::MAX_ENDED;
pub(crate) use admit_node::MOST_NODES;
pub(crate) use once::NUMBER_WINDOW;
pub(crate) use reseal_secrets::MOST as MOST_SECRETS;
use scope::Scope;

use crate::{
    AdminSpec, Applied, Command, CommandId, Entry, Envelope, FolderSpec, GroupSpec, LogIndex, Refusal, Reply, RoleSpec,
    State,
};

impl State {
    /// Applies one entry. Deterministic; a command that is refused changes nothing but is answered.
    pub fn apply(&mut self, index: LogIndex, entry: &Entry) -> Applied {
        let mut scope = Scope::begin(self, index, entry);
        let mut replies = Vec::with_capacity(entry.commands.len());
        let mut most_rows = 0;
        for envelope in &entry.commands {
            let before = scope.meter.rows();
            scope.actor.clone_from(&envelope.actor);
            replies.push(command(&mut scope, envelope));
            let rows = scope.meter.rows() - before;
            debug_assert!(rows <= envelope.rows_at_most(), "{rows} rows touched by {envelope:?}");
            most_rows = most_rows.max(rows);
        }
        sweep::sweep(&mut scope);
        scope.finish(replies, most_rows)
    }

    /// Passes over an entry that holds no commands (a blank of consensus, a membership change).
    pub fn skip(&mut self, index: LogIndex) {
        let time = self.meta.time;
        self.apply(index, &Entry { time, wall: crate::WallTime(0), commands: Vec::new() });
    }
}

fn command(scope: &mut Scope<'_>, envelope: &Envelope) -> Reply {
    validate::actor(&envelope.actor)?;
    if scope.state.settings.is_none() && !matches!(envelope.command, Command::InitCluster(_)) {
        return Err(Refusal::NotInitialised);
    }
    once::apply(scope, envelope)
}

/// Every verb has a file.
fn dispatch(scope: &mut Scope<'_>, id: CommandId, command: &Command) -> Reply {
    match command {
        Command::InitCluster(command) => init_cluster::apply(scope, command),
        Command::PutNode(command) => put_node::apply(scope, command),
        Command::RegisterNode(command) => register_node::apply(scope, command),
        Command::Renew(command) => renew::apply(scope, command),
        Command::Expire(command) => expire::apply(scope, command),
        Command::CreateUser(command) => create_user::apply(scope, command),
        Command::UpdateUser(command) => update_user::apply(scope, command),
        Command::ReplaceUser(command) => replace_user::apply(scope, command),
        Command::DeleteUser(command) => delete_user::apply(scope, command),
        Command::OpenSession(command) => open_session::apply(scope, id, command),
        Command::AddSlot(command) => add_slot::apply(scope, id, command),
        Command::CloseSession(command) => close_session::apply(scope, id, command),
        Command::KillSession(command) => kill_session::apply(scope, command),
        Command::PutSecret(command) => put_secret::apply(scope, command),
        Command::PutToken(command) => put_token::apply(scope, command),
        Command::DeleteToken(command) => delete_token::apply(scope, command),
        Command::AdoptStorage(command) => adopt_storage::apply(scope, command),
        Command::MarkerWritten(command) => marker_written::apply(scope, command),
        Command::Account(command) => account::apply(scope, id, command),
        Command::PutAdmin(command) => kept::put(scope, command),
        Command::DeleteAdmin(command) => kept::delete::<AdminSpec>(scope, command),
        Command::PutGroup(command) => kept::put(scope, command),
        Command::DeleteGroup(command) => kept::delete::<GroupSpec>(scope, command),
        Command::PutFolder(command) => kept::put(scope, command),
        Command::DeleteFolder(command) => kept::delete::<FolderSpec>(scope, command),
        Command::PutRole(command) => kept::put(scope, command),
        Command::DeleteRole(command) => kept::delete::<RoleSpec>(scope, command),
        Command::IssueToken(command) => issue_token::apply(scope, command),
        Command::PutApiKey(command) => put_api_key::apply(scope, command),
        Command::MakeJoinToken(command) => make_join_token::apply(scope, command),
        Command::AdmitNode(command) => admit_node::apply(scope, command),
        Command::RemoveNode(command) => remove_node::apply(scope, command),
        Command::ResealSecrets(command) => reseal_secrets::apply(scope, command),
        Command::ChangeOfRole(command) => change_of_role::apply(scope, command),
        Command::Note(command) => note::apply(scope, command),
    }
}
