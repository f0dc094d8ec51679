//! A slab of open handles. A handle names its slot and the slot's generation: one that was closed never finds its successor.

use bytes::Bytes;

/// What a client holds; on the wire sixteen hexadecimal digits, because some clients keep handles as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Handle {
    slot: u32,
    generation: u32,
}

impl Handle {
    pub fn parse(wire: &[u8]) -> Option<Self> {
        let digits: [u8; 16] = wire.try_into().ok()?;
        let number = digits.iter().try_fold(0u64, |number, digit| {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                _ => return None,
            };
            Some(number << 4 | u64::from(value))
        })?;
        Some(Self { slot: (number >> 32) as u32, generation: number as u32 })
    }

    pub fn to_wire(self) -> [u8; 16] {
        let number = u64::from(self.slot) << 32 | u64::from(self.generation);
        std::array::from_fn(|place| b"0123456789abcdef"[(number >> (60 - 4 * place)) as usize & 0xf])
    }
}

struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

pub(super) struct Handles<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

impl<T> Default for Handles<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Handles<T> {
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub fn insert(&mut self, value: T) -> Handle {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, value: None });
            u32::try_from(self.slots.len() - 1).expect("handles are capped far below 2^32")
        });
        let place = &mut self.slots[slot as usize];
        place.generation = place.generation.wrapping_add(1);
        place.value = Some(value);
        Handle { slot, generation: place.generation }
    }

    pub fn get(&self, handle: Handle) -> Option<&T> {
        let slot = self.slots.get(handle.slot as usize)?;
        slot.value.as_ref().filter(|_| slot.generation == handle.generation)
    }

    pub fn get_mut(&mut self, handle: Handle) -> Option<&mut T> {
        let slot = self.slots.get_mut(handle.slot as usize)?;
        slot.value.as_mut().filter(|_| slot.generation == handle.generation)
    }

    pub fn remove(&mut self, handle: Handle) -> Option<T> {
        self.get(handle)?;
        self.free.push(handle.slot);
        self.slots[handle.slot as usize].value.take()
    }

    pub fn iter(&self) -> impl Iterator<Item = (Handle, &T)> {
        self.slots.iter().enumerate().filter_map(|(slot, place)| {
            let handle = Handle { slot: slot as u32, generation: place.generation };
            place.value.as_ref().map(|value| (handle, value))
        })
    }
}

/// A reply that carries the handle.
pub(super) fn reply(id: u32, handle: Handle) -> Bytes {
    crate::codec::reply::handle(id, &handle.to_wire())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_handle_does_not_find_what_took_its_slot() {
        let mut handles = Handles::default();
        let first = handles.insert("first");
        assert_eq!(handles.remove(first), Some("first"));
        let second = handles.insert("second");
        assert_eq!(second.slot, first.slot);
        assert_eq!(handles.get(first), None);
        assert_eq!(handles.remove(first), None);
        assert_eq!(handles.get(Handle::parse(&second.to_wire()).unwrap()), Some(&"second"));
        assert_eq!(handles.len(), 1);
    }

    #[test]
    fn bytes_that_are_no_handle_are_none() {
        for wire in [&b""[..], b"000000000000001", b"00000000000000011", b"000000000000000G", b"00000000+0000001"] {
            assert_eq!(Handle::parse(wire), None);
        }
        assert!(Handles::<u8>::default().get(Handle::parse(&[b'f'; 16]).unwrap()).is_none());
    }
}
