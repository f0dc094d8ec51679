//! `flotilla session …`

use clap::Subcommand;
use flotilla_proto::admin::v1;
use serde_json::{Value, json};

use super::connect::Client;
use super::failure::Failure;
use super::output::Output;

#[derive(Subcommand, Clone, Debug)]
pub enum SessionCommand {
    /// Lists the sessions of all nodes.
    List {
        /// Only this user's.
        #[arg(long)]
        user: Option<String>,
        /// What the node knows, also without a quorum.
        #[arg(long)]
        stale: bool,
    },
    /// Ends a session. Returns when its node has cut it, or names the node.
    Kill { id: String },
}

const COLUMNS: &[&str] =
    &["id", "username", "node", "remote_address", "protocol", "login_method", "slots", "cut_reason"];

pub(super) async fn run(client: &Client, command: SessionCommand) -> Result<Output, Failure> {
    match command {
        SessionCommand::List { user, stale } => list(client, user.unwrap_or_default(), stale).await,
        SessionCommand::Kill { id } => {
            let request = v1::KillSessionRequest { id: id.clone(), request_id: client.request_id.clone() };
            let answer = client.sessions().kill_session(request).await;
            let answer = answer.map_err(|status| Failure::of_change(status, &client.request_id))?.into_inner();
            Ok(Output::changed(&format!("session {id} is ended"), answer.result))
        }
    }
}

async fn list(client: &Client, username: String, stale: bool) -> Result<Output, Failure> {
    let mut rows = Vec::new();
    let mut page_token = String::new();
    loop {
        let consistency = super::user::consistency(stale);
        let request = v1::ListSessionsRequest { page_size: 1000, page_token, consistency, username: username.clone() };
        let page = client.sessions().list_sessions(request).await?.into_inner();
        rows.extend(page.sessions.iter().map(shown));
        if page.next_page_token.is_empty() {
            return Ok(Output::many(COLUMNS, rows));
        }
        page_token = page.next_page_token;
    }
}

fn shown(session: &v1::Session) -> Value {
    json!({
        "id": session.id,
        "username": session.username,
        "node": session.node,
        "remote_address": session.remote_address,
        "protocol": session.protocol,
        "login_method": session.login_method,
        "opened_at": session.opened_at,
        "slots": session.slots,
        "cut_reason": session.cut_reason,
    })
}
