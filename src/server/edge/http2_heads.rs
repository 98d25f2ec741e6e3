//! Request heads over HTTP/2: tells whether a connection is in the middle of a head.
//!
//! The frames of a head are contiguous: no other frame may come between them (RFC 9113, 4.3). So a client that leaves a
//! head unfinished can send no other request on that connection, whatever is in flight. The library has no deadline for
//! a head.

/// The length of the connection preface, which the client sends first.
const PREFACE_BYTES: usize = 24;

/// The length of a frame header: length, type, flags and stream.
const FRAME_HEAD_BYTES: usize = 9;

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// The state of the frames that a client sends.
#[derive(Debug, Default)]
pub(super) struct HeadFrames {
    preface: usize,
    /// The header of the incoming frame, and how many bytes of it have arrived.
    frame: [u8; FRAME_HEAD_BYTES],
    there: usize,
    /// The bytes of the frame that are missing after its header.
    missing: usize,
    /// Whether the frames of a head have begun and not ended.
    in_head: bool,
}

impl HeadFrames {
    /// Reads bytes from the client, from the first byte of the connection on. Returns whether a head ended in them.
    pub(super) fn sent(&mut self, mut bytes: &[u8]) -> bool {
        let mut has_ended = false;
        let of_preface = bytes.len().min(PREFACE_BYTES - self.preface);
        self.preface += of_preface;
        bytes = &bytes[of_preface..];
        while !bytes.is_empty() {
            let step = if self.there < FRAME_HEAD_BYTES {
                let step = bytes.len().min(FRAME_HEAD_BYTES - self.there);
                self.frame[self.there..self.there + step].copy_from_slice(&bytes[..step]);
                self.there += step;
                if self.there == FRAME_HEAD_BYTES {
                    self.missing = self.frame[..3].iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
                    self.in_head |= self.is_of_a_head();
                }
                step
            } else {
                let step = bytes.len().min(self.missing);
                self.missing -= step;
                step
            };
            bytes = &bytes[step..];
            if self.there == FRAME_HEAD_BYTES && self.missing == 0 {
                if self.is_of_a_head() && self.frame[4] & END_HEADERS != 0 {
                    self.in_head = false;
                    has_ended = true;
                }
                self.there = 0;
            }
        }
        has_ended
    }

    /// Returns whether the rest of a head is missing.
    pub(super) fn in_head(&self) -> bool {
        self.in_head
    }

    fn is_of_a_head(&self) -> bool {
        matches!(self.frame[3], HEADERS | CONTINUATION)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, length: u8) -> Vec<u8> {
        [&[0, 0, length, kind, flags, 0, 0, 0, 1][..], &vec![0; usize::from(length)]].concat()
    }

    #[test]
    fn a_head_lasts_from_its_first_frame_to_the_end_of_its_last() {
        let (settings, data) = (4, 0);
        let steps = [
            (vec![0; PREFACE_BYTES], false),
            (frame(settings, 0, 12), false),
            (frame(HEADERS, END_HEADERS, 7), false),
            (frame(data, 0, 200), false),
            (frame(HEADERS, 0, 3), true),
            (frame(CONTINUATION, 0, 0), true),
            (frame(CONTINUATION, END_HEADERS, 3), false),
            (frame(HEADERS, END_HEADERS, 3)[..10].to_vec(), true),
            (vec![0; 2], false),
            (frame(data, END_HEADERS, 0), false),
        ];
        for piece in [1, 2, 5, 1_000] {
            let mut frames = HeadFrames::default();
            for (bytes, in_head) in &steps {
                bytes.chunks(piece).for_each(|bytes| {
                    frames.sent(bytes);
                });
                assert_eq!(frames.in_head(), *in_head, "{bytes:?} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn the_end_of_a_head_is_told_also_where_the_next_one_begins() {
        let mut frames = HeadFrames::default();
        let head = frame(HEADERS, END_HEADERS, 7);
        assert!(!frames.sent(&[&[0; PREFACE_BYTES][..], &head[..12]].concat()));
        assert!(frames.sent(&[&head[12..], &head[..12]].concat()), "one ended");
        assert!(frames.in_head(), "and the next one began");
        assert!(!frames.sent(&head[12..13]));
    }
}
