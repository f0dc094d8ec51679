//! A slab of open handles. A handle names its slot and the slot's generation: one that was closed never finds its successor.

use bytes::Bytes;

/// What a client holds, as eight opaque bytes on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Handle {
    slot: u32,
    generation: u32,
}

impl Handle {
    pub fn parse(wire: &[u8]) -> Option<Self> {
        let (slot, generation) = wire.split_first_chunk::<4>()?;
        let generation = generation.try_into().ok()?;
        Some(Self { slot: u32::from_be_bytes(*slot), generation: u32::from_be_bytes(generation) })
    }

    pub fn to_wire(self) -> [u8; 8] {
        (u64::from(self.slot) << 32 | u64::from(self.generation)).to_be_bytes()
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
        for wire in [&b""[..], b"1234567", b"123456789"] {
            assert_eq!(Handle::parse(wire), None);
        }
        assert!(Handles::<u8>::default().get(Handle::parse(&[0xff; 8]).unwrap()).is_none());
    }
}
