//! The one place where a state becomes chunks of bytes and back: the model's own snapshot form.

use std::io;

use flotilla_model::State;

pub fn chunks(state: &State) -> impl Iterator<Item = Vec<u8>> + '_ {
    state.to_snapshot()
}

/// Restores chunk by chunk; a chunk that cannot be read ends it, and is the error that counts.
pub fn restore(chunks: &mut dyn Iterator<Item = io::Result<Vec<u8>>>) -> io::Result<State> {
    let mut failed = None;
    let readable = chunks.map_while(|chunk| chunk.map_err(|error| failed = Some(error)).ok());
    let state = State::from_snapshot(readable);
    match failed {
        Some(error) => Err(error),
        None => state.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)),
    }
}
