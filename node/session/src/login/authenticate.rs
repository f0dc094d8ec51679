//! A login from the credential to the answer.

use std::sync::Arc;

use flotilla_model::User;
use tokio::time::Instant;

use super::admit::{self, Admission};
use super::judge::{Judged, Login};
use crate::connection::Connection;
use crate::core::Core;
use crate::login::{Admitted, AuthOutcome, Credential, bounded_text};

/// How often a credential is verified again because the record moved under the login.
const MAX_ROUNDS: usize = 4;

pub(crate) async fn run(
    core: &Arc<Core>,
    connection: &Arc<Connection>,
    username: &str,
    credential: Credential,
    deadline: Instant,
) -> AuthOutcome {
    let login = Login { core, connection, username, credential: &credential, deadline };
    let outcome = tokio::time::timeout_at(deadline, decide(&login)).await;
    let outcome = outcome.unwrap_or_else(|_| AuthOutcome::Unavailable("the login took too long".into()));
    record(&login, &outcome);
    outcome
}

async fn decide(login: &Login<'_>) -> AuthOutcome {
    if login.core.is_draining() {
        return AuthOutcome::Unavailable("this node is shutting down".into());
    }
    let mut judged = login.judge_fresh().await;
    for _ in 0..MAX_ROUNDS {
        let user = match judged {
            Judged::Right(user) => user,
            Judged::Wrong(why) => return rejected(login, why),
            Judged::Unavailable(why) => return AuthOutcome::Unavailable(why),
        };
        if matches!(login.credential, Credential::PublicKeyOffer(_)) {
            return AuthOutcome::KeyAcceptable;
        }
        match admit_one(login, &user).await {
            Some(outcome) => return outcome,
            // The record moved: the state that refused is newer than the attempt, so this judgement is fresh.
            None => judged = login.judge_local().await.1,
        }
    }
    AuthOutcome::Unavailable("the user is being changed, try again later".into())
}

/// `None`: verify again.
async fn admit_one(login: &Login<'_>, user: &Arc<User>) -> Option<AuthOutcome> {
    match admit::run(login, user).await {
        Admission::Admitted(session) => Some(AuthOutcome::Accepted(Admitted::new(session))),
        Admission::Moved => None,
        Admission::Rejected(why) => Some(rejected(login, why)),
        Admission::Refused(text) => Some(AuthOutcome::AcceptedButRefused(bounded_text(text))),
        Admission::Unavailable(why) => Some(AuthOutcome::Unavailable(bounded_text(why))),
    }
}

fn rejected(login: &Login<'_>, why: &'static str) -> AuthOutcome {
    log_failure(login, why);
    AuthOutcome::Rejected
}

fn log_failure(login: &Login<'_>, error: &str) {
    let username: String = login.username.chars().take(64).collect();
    tracing::info!(
        sender = "connection_failed",
        client_ip = %login.connection.remote().ip(),
        username,
        login_type = login.credential.method(),
        protocol = login.connection.protocol(),
        error,
        "login refused"
    );
}

fn record(login: &Login<'_>, outcome: &AuthOutcome) {
    let result = match outcome {
        AuthOutcome::Accepted(admitted) => {
            log_success(login, admitted);
            "accepted"
        }
        AuthOutcome::KeyAcceptable => return,
        AuthOutcome::AcceptedButRefused(text) => {
            log_failure(login, text);
            "refused"
        }
        AuthOutcome::Rejected => "rejected",
        AuthOutcome::Unavailable(why) => {
            log_failure(login, why);
            "unavailable"
        }
    };
    metrics::counter!("flotilla_logins_total", "result" => result, "method" => login.credential.method()).increment(1);
}

fn log_success(login: &Login<'_>, admitted: &Admitted) {
    tracing::info!(
        sender = "login",
        ip = %login.connection.remote().ip(),
        username = login.username,
        method = login.credential.method(),
        protocol = login.connection.protocol(),
        connection_id = %admitted.session().id(),
        "login"
    );
}
