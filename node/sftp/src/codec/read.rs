//! A cursor over a packet's bytes. Every length is checked against what is there before anything is taken.

use super::Malformed;

pub struct Cursor<'a> {
    rest: &'a [u8],
}

type Read<T> = Result<T, &'static str>;

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn take<const N: usize>(&mut self) -> Read<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or("packet ends within a number")?;
        self.rest = rest;
        Ok(*head)
    }

    pub fn u8(&mut self) -> Read<u8> {
        Ok(u8::from_be_bytes(self.take()?))
    }

    pub fn u32(&mut self) -> Read<u32> {
        Ok(u32::from_be_bytes(self.take()?))
    }

    pub fn u64(&mut self) -> Read<u64> {
        Ok(u64::from_be_bytes(self.take()?))
    }

    pub fn string(&mut self) -> Read<&'a [u8]> {
        let length = self.u32()? as usize;
        let (head, rest) = self.rest.split_at_checked(length).ok_or("a string is longer than its packet")?;
        self.rest = rest;
        Ok(head)
    }
}

/// Ties a cursor's complaint to the request it arose in.
pub fn in_request<T>(id: Option<u32>, read: Read<T>) -> Result<T, Malformed> {
    read.map_err(|reason| Malformed { id, reason })
}
