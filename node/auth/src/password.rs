//! Password hashes: argon2id as PHC strings. What a stored string asks for is bounded before it is computed.

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Params, Version};

use crate::memory::with_blocks;

/// A longer password is refused when set and never hashed when presented.
pub const MAX_PASSWORD_BYTES: usize = 1024;
/// Bounds on what a stored hash may cost: 256 MiB, 10 passes, 16 lanes.
const MAX_MEMORY_KIB: u32 = 256 * 1024;
const MAX_PASSES: u32 = 10;
const MAX_LANES: u32 = 16;
/// A PHC string of argon2id is about 100 bytes.
const MAX_PHC_BYTES: usize = 512;

/// Why a hash cannot be made or used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    #[error("the password is empty")]
    Empty,
    #[error("the password is longer than 1024 bytes")]
    TooLong,
    #[error("the password hash is not a PHC string of argon2id")]
    NotArgon2id,
    #[error("the password hash asks for more than 256 MiB, 10 passes or 16 lanes")]
    TooCostly,
    #[error("the password could not be hashed")]
    Failed,
}

/// Hashes a password with a fresh salt (argon2id, 19 MiB, 2 passes, 1 lane: OWASP's first choice). Takes tens of milliseconds.
pub fn hash_password(password: &[u8]) -> Result<String, HashError> {
    if password.is_empty() {
        return Err(HashError::Empty);
    }
    if password.len() > MAX_PASSWORD_BYTES {
        return Err(HashError::TooLong);
    }
    let salt: [u8; 16] = rand::random();
    let params = Params::default();
    let failed = |_| HashError::Failed;
    let hash = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(&params).map_err(failed)?,
        salt: Some(Salt::new(&salt).map_err(|_| HashError::Failed)?),
        hash: Some(compute(params, Version::V0x13, password, &salt, Params::DEFAULT_OUTPUT_LEN)?),
    };
    Ok(hash.to_string())
}

fn compute(params: Params, version: Version, password: &[u8], salt: &[u8], length: usize) -> Result<Output, HashError> {
    let mut out = [0; Output::MAX_LENGTH];
    let out = out.get_mut(..length).ok_or(HashError::Failed)?;
    let argon2 = Argon2::new(Algorithm::Argon2id, version, params.clone());
    with_blocks(&params, |blocks| argon2.hash_password_into_with_memory(password, salt, out, blocks))
        .map_err(|_| HashError::Failed)?;
    Output::new(out).map_err(|_| HashError::Failed)
}

/// Whether a stored hash can be used at all: its form and its cost. For imports and the administration.
pub fn check_hash(stored: &str) -> Result<(), HashError> {
    parse(stored).map(|_| ())
}

fn parse(stored: &str) -> Result<PasswordHash, HashError> {
    if stored.len() > MAX_PHC_BYTES {
        return Err(HashError::NotArgon2id);
    }
    let hash = PasswordHash::new(stored).map_err(|_| HashError::NotArgon2id)?;
    let params = Params::try_from(&hash).map_err(|_| HashError::NotArgon2id)?;
    if hash.algorithm.as_str() != "argon2id" || hash.hash.is_none() || hash.salt.is_none() {
        return Err(HashError::NotArgon2id);
    }
    let bounded = params.m_cost() <= MAX_MEMORY_KIB && params.t_cost() <= MAX_PASSES && params.p_cost() <= MAX_LANES;
    if bounded { Ok(hash) } else { Err(HashError::TooCostly) }
}

/// Compares in constant time. Takes as long as the stored hash asks for.
pub fn verify_password(stored: &str, password: &[u8]) -> Result<bool, HashError> {
    let hash = parse(stored)?;
    let failed = |_| HashError::NotArgon2id;
    let params = Params::try_from(&hash).map_err(failed)?;
    let version = hash.version.map(Version::try_from).transpose().map_err(|_| HashError::NotArgon2id)?;
    let (Some(salt), Some(expected)) = (&hash.salt, &hash.hash) else { return Err(HashError::NotArgon2id) };
    let computed = compute(params, version.unwrap_or_default(), password, salt, expected.len());
    // `Output` compares in constant time.
    Ok(computed.is_ok_and(|computed| computed == *expected))
}
