//! Makes a join token known.

use super::{Scope, validate};
use crate::command::MakeJoinToken;
use crate::event::Fact;
use crate::{Done, Effect, JoinToken, LogTime, Refusal, Reply, Settings};

/// A day: a token is made when the machine stands ready.
const LONGEST_MS: u64 = 24 * 3_600 * 1_000;
const MOST: usize = 64;

pub(super) fn apply(scope: &mut Scope<'_>, command: &MakeJoinToken) -> Reply {
    if command.life_ms == 0 || command.life_ms > LONGEST_MS {
        return Err(validate::invalid("life_ms", "it must be between 1 ms and 24 hours"));
    }
    let Some(settings) = scope.state.settings.clone() else { return Err(Refusal::NotInitialised) };
    let mut tokens = settings.join_tokens.clone();
    tokens.retain(|token| token.expires > scope.time);
    if tokens.len() >= MOST {
        return Err(validate::invalid("join token", "64 are valid already: wait until one has expired"));
    }
    tokens.push(JoinToken { hash: command.hash, expires: LogTime(scope.time.0 + command.life_ms), redeemed: None });
    scope.put_settings(Settings { join_tokens: tokens, ..Settings::clone(&settings) });
    scope.event(Fact::JoinTokenMade);
    scope.effect(Effect::Settings);
    Ok(Done::Revision(scope.index))
}
