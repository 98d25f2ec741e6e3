//! Reads request bodies, plain or compressed by gzip. The limit applies to the plain size, so a small body that
//! inflates to a large one costs no more than a large body.

use std::io::{self, Write};
use std::ops::ControlFlow;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::{CONTENT_ENCODING, HeaderMap};
use flate2::write::MultiGzDecoder;
use futures_util::StreamExt;

/// Compressed bytes that are read before other tasks have their turn. They inflate to at most some 16 MiB, and mostly
/// to tenths of that.
const STEP_BYTES: usize = 16 << 10;

/// The content coding of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Coding {
    Plain,
    Gzip,
}

impl Coding {
    /// Returns the coding that the headers name; `None` if it is not supported.
    pub(in crate::server) fn of(headers: &HeaderMap) -> Option<Self> {
        let lines = headers.get_all(CONTENT_ENCODING).iter().map(|line| line.to_str().unwrap_or("?"));
        let mut codings = lines.flat_map(|line| line.split(',')).map(str::trim).filter(|coding| !coding.is_empty());
        let named = match codings.next() {
            None => Self::Plain,
            Some(coding) if coding.eq_ignore_ascii_case("identity") => Self::Plain,
            Some(coding) if coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip") => Self::Gzip,
            Some(_) => return None,
        };
        codings.next().is_none().then_some(named)
    }
}

/// The reason why a body could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Unread {
    /// The body is larger than the limit.
    TooLarge,
    /// The connection broke off.
    Broken,
    /// The body is not gzip, or not complete.
    NotGzip,
}

/// Reads a body to its end; the plain size is at most `bytes_max`.
pub(in crate::server) async fn read(body: Body, coding: Coding, bytes_max: usize) -> Result<Bytes, Unread> {
    let announced = body.size_hint().lower();
    if announced > bytes_max as u64 && coding == Coding::Plain {
        return Err(Unread::TooLarge);
    }
    let mut plain = Plain::new(coding, usize::try_from(announced).unwrap_or(bytes_max), bytes_max);
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|_| Unread::Broken)?;
        for step in piece.chunks(STEP_BYTES) {
            plain.add(step)?;
            if coding == Coding::Gzip {
                tokio::task::consume_budget().await;
            }
        }
    }
    plain.end()
}

/// The plain bytes so far.
enum Plain {
    Same(Bounded),
    Inflated(Box<MultiGzDecoder<Bounded>>),
}

impl Plain {
    /// Reserves the announced length at once, because a buffer that grows is in memory twice. Reserved memory costs
    /// nothing before it is written to.
    fn new(coding: Coding, announced: usize, bytes_max: usize) -> Self {
        let bytes = Vec::with_capacity(announced.min(bytes_max));
        let bounded = Bounded { bytes, bytes_max, full: ControlFlow::Continue(()) };
        match coding {
            Coding::Plain => Self::Same(bounded),
            Coding::Gzip => Self::Inflated(Box::new(MultiGzDecoder::new(bounded))),
        }
    }

    fn add(&mut self, bytes: &[u8]) -> Result<(), Unread> {
        match self {
            Self::Same(plain) => plain.write_all(bytes).map_err(|_| Unread::TooLarge),
            Self::Inflated(decoder) => match decoder.write_all(bytes) {
                Ok(()) => Ok(()),
                Err(_) => Err(why(decoder.get_ref())),
            },
        }
    }

    fn end(self) -> Result<Bytes, Unread> {
        match self {
            Self::Same(plain) => Ok(plain.bytes.into()),
            Self::Inflated(mut decoder) => match decoder.try_finish() {
                Ok(()) => Ok(std::mem::take(&mut decoder.get_mut().bytes).into()),
                Err(_) => Err(why(decoder.get_ref())),
            },
        }
    }
}

fn why(plain: &Bounded) -> Unread {
    if plain.full.is_break() { Unread::TooLarge } else { Unread::NotGzip }
}

/// A buffer that takes bytes up to a limit.
struct Bounded {
    bytes: Vec<u8>,
    bytes_max: usize,
    full: ControlFlow<()>,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.bytes_max {
            self.full = ControlFlow::Break(());
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).expect("written");
        encoder.finish().expect("whole")
    }

    async fn inflated(bytes: Vec<u8>, bytes_max: usize) -> Result<Bytes, Unread> {
        read(Body::from(bytes), Coding::Gzip, bytes_max).await
    }

    #[tokio::test]
    async fn a_body_is_as_large_as_it_is_when_it_is_plain() {
        assert_eq!(inflated(gzip(&[b'x'; 1_000]), 1_000).await.expect("whole").len(), 1_000);
        assert_eq!(inflated(gzip(&[b'x'; 1_001]), 1_000).await, Err(Unread::TooLarge));
        let bomb = gzip(&vec![0; 50 << 20]);
        assert!(bomb.len() < 100_000);
        assert_eq!(inflated(bomb, 1 << 20).await, Err(Unread::TooLarge));
        assert_eq!(read(Body::from(vec![0; 1_001]), Coding::Plain, 1_000).await, Err(Unread::TooLarge));
        assert_eq!(read(Body::from(vec![0; 1_000]), Coding::Plain, 1_000).await.expect("whole").len(), 1_000);
    }

    #[tokio::test]
    async fn a_body_that_is_not_whole_is_no_body() {
        let whole = gzip(b"{\"query\":\"{ version }\"}");
        for cut in [1, 5, whole.len() / 2, whole.len() - 1] {
            assert_eq!(inflated(whole[..cut].to_vec(), 1_000).await, Err(Unread::NotGzip), "{cut} bytes");
        }
        assert_eq!(inflated(b"{\"query\":\"{ version }\"}".to_vec(), 1_000).await, Err(Unread::NotGzip));
        let two = [gzip(b"one, "), gzip(b"two")].concat();
        assert_eq!(inflated(two, 1_000).await.expect("whole"), "one, two");
    }

    #[test]
    fn one_coding_is_read() {
        let coding = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(CONTENT_ENCODING, line.parse().expect("a header"));
            }
            Coding::of(&headers)
        };
        assert_eq!(coding(&[]), Some(Coding::Plain));
        assert_eq!(coding(&["identity"]), Some(Coding::Plain));
        assert_eq!(coding(&["GZIP"]), Some(Coding::Gzip));
        for other in [&["br"][..], &["gzip, gzip"], &["gzip", "gzip"], &["deflate"], &["zstd"]] {
            assert_eq!(coding(other), None, "{other:?}");
        }
    }
}
