//! Cuts a byte stream into packets. Holds at most one packet, and nothing between packets.

use bytes::Bytes;

use super::{MAX_PACKET, PACKET_SLACK};

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a packet of {length} bytes is longer than allowed")]
pub struct FrameTooLong {
    pub length: u32,
}

/// One packet without its length field: lent from the input when it came whole, else owned.
pub enum Frame<'a> {
    Whole(&'a [u8]),
    Joined(Bytes),
}

impl Frame<'_> {
    pub fn bytes(&self) -> &[u8] {
        match self {
            Frame::Whole(bytes) => bytes,
            Frame::Joined(bytes) => bytes,
        }
    }

    /// A part of [`Frame::bytes`] as `Bytes`: copied if the packet was lent, else shared.
    pub fn share(&self, part: &[u8]) -> Bytes {
        match self {
            Frame::Whole(_) => Bytes::copy_from_slice(part),
            Frame::Joined(bytes) => bytes.slice_ref(part),
        }
    }
}

/// What is there of a packet that has not come whole yet, its length field included.
#[derive(Default)]
pub struct Assembler {
    partial: Vec<u8>,
}

impl Assembler {
    /// Takes the next packet off the front of `input`, or keeps what there is of it.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Frame<'a>>, FrameTooLong> {
        if self.partial.is_empty()
            && let Some(length) = length_of(input)?
            && let Some(packet) = input[4..].get(..length)
        {
            *input = &input[4 + length..];
            return Ok(Some(Frame::Whole(packet)));
        }
        self.join(input)
    }

    fn join<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Frame<'a>>, FrameTooLong> {
        let head = 4usize.saturating_sub(self.partial.len());
        self.keep(head, input);
        let Some(length) = length_of(&self.partial)? else { return Ok(None) };
        self.partial.reserve_exact(4 + length - self.partial.len());
        self.keep(4 + length - self.partial.len(), input);
        if self.partial.len() < 4 + length {
            return Ok(None);
        }
        let packet = Bytes::from(std::mem::take(&mut self.partial)).slice(4..);
        Ok(Some(Frame::Joined(packet)))
    }

    fn keep(&mut self, wanted: usize, input: &mut &[u8]) {
        let (head, rest) = input.split_at(wanted.min(input.len()));
        self.partial.extend_from_slice(head);
        *input = rest;
    }
}

fn length_of(bytes: &[u8]) -> Result<Option<usize>, FrameTooLong> {
    let Some(head) = bytes.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes(*head);
    if length as usize > MAX_PACKET + PACKET_SLACK {
        return Err(FrameTooLong { length });
    }
    Ok(Some(length as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut assembler = Assembler::default();
        let mut packets = Vec::new();
        for mut piece in pieces.iter().copied() {
            while let Some(frame) = assembler.next(&mut piece).unwrap() {
                packets.push(frame.bytes().to_vec());
            }
        }
        packets
    }

    #[test]
    fn packets_are_the_same_however_the_stream_is_cut() {
        let stream = b"\0\0\0\x03abc\0\0\0\0\0\0\0\x01z";
        let wanted = vec![b"abc".to_vec(), b"".to_vec(), b"z".to_vec()];
        for first in 0..stream.len() {
            for second in first..stream.len() {
                let pieces = [&stream[..first], &stream[first..second], &stream[second..]];
                assert_eq!(cut(&pieces), wanted, "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn no_stream_makes_it_keep_more_than_one_packet() {
        let mut state = 0x5eed_u64;
        let mut random = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u32
        };
        for _ in 0..2_000 {
            let mut assembler = Assembler::default();
            for _ in 0..20 {
                // Mostly lengths that are allowed, then fewer bytes than they promise.
                let length = if random() % 8 == 0 { random() } else { random() % (2 * MAX_PACKET as u32) };
                let mut piece = length.to_be_bytes().to_vec();
                piece.resize(random() as usize % 600, 0xa5);
                let mut input = &piece[..];
                while let Ok(Some(_)) = assembler.next(&mut input) {}
                assert!(assembler.partial.capacity() <= 4 + MAX_PACKET + PACKET_SLACK);
            }
        }
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_anything_is_kept() {
        let mut assembler = Assembler::default();
        let mut input: &[u8] = &[0x40, 0, 0, 0, 1, 2];
        assert_eq!(assembler.next(&mut input).err(), Some(FrameTooLong { length: 0x4000_0000 }));
        assert_eq!(assembler.partial.capacity(), 0);
    }
}
