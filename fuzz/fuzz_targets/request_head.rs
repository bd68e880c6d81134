//! Any bytes as a request head: never a panic, found at the same place however they are cut, and what passes is read the same
//! way by another parser, with nothing of the framing that could be read differently.

#![no_main]

use lemonade_load_balancer::internals::{Rewriter, head_length};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (step, bytes) = input;
    let whole = head_length(bytes, bytes.len());
    assert_eq!(whole, head_length(bytes, usize::from(step)), "cut every {step} bytes");
    let (mut rewriter, mut out) = (Rewriter::default(), Vec::new());
    if rewriter.request(bytes, &mut out).is_none() {
        return;
    }
    let mut fields = [httparse::EMPTY_HEADER; 256];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(&out) {
        Ok(httparse::Status::Complete(length)) => assert_eq!(length, out.len(), "bytes behind the head"),
        // A target that is not UTF-8 passes here and not there.
        Err(httparse::Error::Token) if std::str::from_utf8(target(&out)).is_err() => return,
        other => panic!("{other:?} for {:?}", String::from_utf8_lossy(&out)),
    }
    // What is written anew has fields of ours besides, which may be more than we take from others.
    let again = rewriter.request(&out, &mut Vec::new());
    assert!(again == Some(out.len()) || request.headers.len() > 100, "a head that we would refuse");
    assert_eq!(request.version, Some(1));
    assert_eq!(request.path.map(str::as_bytes), Some(target(&out)));
    let count = |name: &str| request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).count();
    assert_eq!(count("host"), 1);
    assert!(count("content-length") == 0 || count("transfer-encoding") == 0);
    assert!(count("transfer-encoding") <= 1);
    assert_eq!(count("connection"), count("upgrade"), "a field that ends at this hop");
    for ends_here in ["keep-alive", "proxy-connection", "te"] {
        assert_eq!(count(ends_here), 0, "{ends_here}");
    }
    assert_eq!(count("x-forwarded-for"), 1);
});

/// What lies between the start line's first and second space.
fn target(head: &[u8]) -> &[u8] {
    head.split(|byte| *byte == b' ').nth(1).unwrap_or_default()
}
