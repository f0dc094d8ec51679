//! Tokens of administration: the cluster stores hashes, callers keep the tokens.

use std::sync::Arc;

use flotilla_model::command::{DeleteToken, IssueToken, PutToken};
use flotilla_model::{Command, LogIndex, RequestId, State, Token, TokenKind};

use super::{Caller, Changed, Service, checks, wall_ms};
use crate::access::Verb;
use crate::error::{ApiError, Code};

/// How long a login's token is taken, ms: SFTPGo's default.
const LOGIN_MS: u64 = 20 * 60 * 1_000;

impl Service {
    /// Makes the token of a login, after the admin's password verified. Answers when it expires, ms since 1970.
    pub async fn log_in(
        &self,
        caller: &Caller,
        id: Option<RequestId>,
        hash: &[u8],
    ) -> Result<(Changed, u64), ApiError> {
        let hash = checks::hash(hash)?;
        let (Some(admin), Some(revision)) = (caller.admin.clone(), caller.verified) else {
            return Err(ApiError::new(Code::Internal, "no password was verified"));
        };
        let expires_at = wall_ms() + LOGIN_MS;
        let command = IssueToken { admin: admin.clone(), revision, hash, expires_at };
        let changed = match self.change(caller, id, Command::IssueToken(command)).await {
            Err(error) if matches!(error.code, Code::RevisionMismatch | Code::NotFound) => {
                let message = format!("admin {admin} was changed meanwhile: log in again");
                return Err(ApiError { code: Code::Conflict, message, ..error });
            }
            changed => changed?,
        };
        // A repeated request is answered as the first one; then the hash in it is not the one that is stored.
        match self.local_state().token_by_hash(&hash) {
            Some(row) => Ok((changed, row.expires_at)),
            None => Err(ApiError {
                request_id: Some(changed.request_id),
                log_index: Some(changed.index),
                ..ApiError::new(Code::AlreadyExists, "this request made a token before: it is not shown again")
            }),
        }
    }

    /// Ends the token of the call, if it is a login's.
    pub async fn log_out(&self, caller: &Caller, id: Option<RequestId>) -> Result<Changed, ApiError> {
        match &caller.token {
            Some(token) if matches!(token.kind, TokenKind::Login { .. }) => {
                self.change(
                    caller,
                    id,
                    Command::DeleteToken(DeleteToken { name: token.name.clone(), expected_revision: None }),
                )
                .await
            }
            _ => Err(ApiError::invalid("only the token of a login can be logged out: use `flotilla token delete`")),
        }
    }

    /// Never replaces a token of that name: a name in the history means one token.
    pub async fn create_token(
        &self,
        caller: &Caller,
        id: Option<RequestId>,
        name: String,
        hash: &[u8],
        permissions: Vec<String>,
        expires_at: u64,
    ) -> Result<Changed, ApiError> {
        caller.may(Verb::CreateToken)?;
        let hash = checks::hash(hash)?;
        checks::admin_permissions(&permissions)?;
        let command = PutToken { name, hash, permissions, expires_at, replace: false };
        self.change(caller, id, Command::PutToken(command)).await
    }

    pub async fn list_tokens(&self, caller: &Caller) -> Result<(Arc<State>, Vec<Arc<Token>>), ApiError> {
        caller.may(Verb::ListTokens)?;
        let state = self.state(false).await?;
        let tokens = state.tokens().cloned().collect();
        Ok((state, tokens))
    }

    pub async fn delete_token(
        &self,
        caller: &Caller,
        id: Option<RequestId>,
        name: String,
        expected_revision: Option<LogIndex>,
    ) -> Result<Changed, ApiError> {
        caller.may(Verb::DeleteToken)?;
        self.change(caller, id, Command::DeleteToken(DeleteToken { name, expected_revision })).await
    }
}
