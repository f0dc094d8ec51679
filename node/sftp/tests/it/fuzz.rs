//! Damaged conversations: nothing that a client sends makes the engine panic, hang, or hold more than its bounds.

use bytes::Bytes;
use flotilla_sftp::{Budget, Config, Feed, codec::parse};

use crate::fixtures::{packet, rig::Rig};

/// A generator that a seed decides (Marsaglia, "Xorshift RNGs", 2003).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// One request of every kind, on handles that exist and on others.
fn conversation(handle: &Bytes) -> Vec<Vec<u8>> {
    let mut packets = vec![
        packet::open(1, "a", 2),
        packet::open(2, "b/c", 0x1f),
        packet::open_dir(3, "d"),
        packet::stat(4, "a"),
        packet::make_dir(5, "e"),
        packet::rename(6, "a", "f"),
        packet::write(7, handle, 0, &[7; 300]),
        packet::read(8, handle, 0, 40_000),
        packet::handle_stat(9, handle),
        packet::read_dir(10, handle),
        packet::close(11, b"0000000000000099"),
        packet::extended(12, "posix-rename@openssh.com", &[&packet::string(b"a"), &packet::string(b"b")]),
        packet::extended(13, "limits@openssh.com", &[]),
        packet::extended(14, "statvfs@openssh.com", &[&packet::string(b"/")]),
        packet::extended(15, "fsync@openssh.com", &[&packet::string(handle)]),
        packet::extended(16, "nobody@knows", &[b"xyz"]),
    ];
    for kind in [7, 9, 10, 13, 15, 16, 17, 18, 19, 20, 21, 99, 255] {
        packets.push(packet::packet(kind, 20, &[&packet::string(b"x"), &packet::string(b"y"), &[0; 16]]));
    }
    packets
}

/// Lengths that have hurt others (`security.md` 4.3: 0, 1, 2³¹, 2³²−1).
const LENGTHS: [u32; 6] = [0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 262_144];

fn damage(dice: &mut Dice, bytes: &mut Vec<u8>) {
    for _ in 0..1 + dice.below(4) {
        if bytes.is_empty() {
            return;
        }
        let at = dice.below(bytes.len());
        match dice.below(5) {
            0 => bytes[at] ^= 1 << dice.below(8),
            1 => bytes[at] = dice.next() as u8,
            2 => bytes.truncate(at),
            3 => bytes.insert(at, dice.next() as u8),
            _ => {
                let length = LENGTHS[dice.below(LENGTHS.len())].to_be_bytes();
                let end = (at + 4).min(bytes.len());
                bytes[at..end].copy_from_slice(&length[..end - at]);
            }
        }
    }
}

#[test]
fn damaged_packets_are_decoded_or_refused() {
    let mut dice = Dice(0x5eed);
    let packets = conversation(&Bytes::from_static(b"0000000000000001"));
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..100_000 {
        let mut bytes = packets[dice.below(packets.len())][4..].to_vec();
        damage(&mut dice, &mut bytes);
        match parse(&bytes) {
            Ok(_) => taken += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(taken > 10_000 && refused > 10_000, "both happen: {taken} {refused}");
}

#[tokio::test]
async fn a_damaged_conversation_ends_or_goes_on_within_its_bounds() {
    let (mut closed, mut went_on) = (0, 0);
    for seed in 1..=400u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (payloads, replies) = (Budget::new(1 << 20), Budget::new(1 << 20));
        let config = Config {
            node_payloads: payloads.clone(),
            node_replies: replies.clone(),
            outstanding_requests: 256,
            open_handles: 8,
            ..Config::default()
        };
        let mut rig = Rig::with(config).await;
        let handle = rig.open("a", 2).await;
        let mut stream = conversation(&handle).concat();
        damage(&mut dice, &mut stream);
        let mut ended = false;
        while !stream.is_empty() && !ended {
            let piece: Vec<u8> = stream.drain(..(1 + dice.below(200)).min(stream.len())).collect();
            let fed = tokio::time::timeout(std::time::Duration::from_secs(20), rig.try_feed(&piece)).await;
            ended = matches!(fed.unwrap_or_else(|_| panic!("seed {seed} hangs")), Feed::Close(_));
        }
        *if ended { &mut closed } else { &mut went_on } += 1;
        assert!(rig.finish().await, "seed {seed}: something of it never ended");
        drop(rig);
        assert_eq!((payloads.free(), replies.free()), (1 << 20, 1 << 20), "seed {seed}: bytes were not given back");
    }
    assert!(closed > 20 && went_on > 20, "both happen: {closed} {went_on}");
}
