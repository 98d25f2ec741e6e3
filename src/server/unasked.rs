//! Answers that hyper gives by itself, before there is a request: 400 to what is no head, 431 to one that is too large. They never
//! pass a route, so what every answer says (`headers.rs`) is put into them here, on their way out.
//!
//! Such an answer is one head without a body, written in one piece, after which the connection ends. Over HTTP/2 there is none:
//! what is wrong with a stream or with the connection is said in frames, and a head that is too large is answered by the library
//! in a frame of its own.

use super::headers;

/// How the heads of such answers begin.
const BEGINNINGS: [&[u8]; 3] = [b"HTTP/1.1 400 ", b"HTTP/1.1 431 ", b"HTTP/1.1 414 "];

/// How every answer of a route is told from one of hyper's.
const OF_A_ROUTE: &[u8] = b"x-content-type-options:";

/// What is to be written in the place of these bytes, where they are an answer of hyper's own.
pub(super) fn guarded(bytes: &[u8]) -> Option<Vec<u8>> {
    let is_one = BEGINNINGS.iter().any(|beginning| bytes.starts_with(beginning)) && bytes.ends_with(b"\r\n\r\n");
    if !is_one || bytes.windows(OF_A_ROUTE.len()).any(|at| at.eq_ignore_ascii_case(OF_A_ROUTE)) {
        return None;
    }
    let status = bytes.windows(2).position(|at| at == b"\r\n")? + 2;
    Some([&bytes[..status], headers::lines().as_bytes(), &bytes[status..]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_no_route_has_answered_is_guarded() {
        let answer = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let guarded_answer = String::from_utf8(guarded(answer).expect("an answer of hyper's")).expect("ASCII");
        assert!(
            guarded_answer
                .starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\nx-content-type-options: nosniff\r\n")
        );
        assert!(guarded_answer.contains("\r\ncache-control: no-store\r\nconnection: close\r\n"));
        assert_eq!(guarded(guarded_answer.as_bytes()), None, "it is guarded already");
        for other in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 400 Bad Request\r\ncontent-length: 5\r\n\r\nhello", ""] {
            assert_eq!(guarded(other.as_bytes()), None, "{other}");
        }
    }
}
