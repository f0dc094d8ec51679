//! Tokens of administration: the cluster stores hashes, callers keep the tokens.

use std::sync::Arc;

use flotilla_model::command::{DeleteToken, PutToken};
use flotilla_model::{Command, RequestId, State, Token};

use super::{Caller, Changed, Service};
use crate::access::{PERMISSIONS, Verb};
use crate::error::ApiError;

impl Service {
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
        let hash = hash.try_into().map_err(|_| ApiError::field("hash", "not 32 bytes: the SHA-256 of the token"))?;
        if permissions.is_empty() {
            return Err(ApiError::field("permissions", "none given; \"*\" is all"));
        }
        if let Some(unknown) = permissions.iter().find(|name| !PERMISSIONS.contains(&name.as_str())) {
            let known = PERMISSIONS.join(", ");
            return Err(ApiError::field("permissions", format_args!("{unknown:?} is none of {known}")));
        }
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
    ) -> Result<Changed, ApiError> {
        caller.may(Verb::DeleteToken)?;
        self.change(caller, id, Command::DeleteToken(DeleteToken { name })).await
    }
}
