//! Any bytes as a request head: never a panic, and what passes is read the same way by another parser, with nothing of the
//! framing that could be read differently.

#![no_main]

use lemonade_load_balancer::internals::Rewriter;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut out = Vec::new();
    if Rewriter::default().request(bytes, &mut out).is_none() {
        return;
    }
    let mut fields = [httparse::EMPTY_HEADER; 256];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(&out) {
        Ok(httparse::Status::Complete(length)) => assert_eq!(length, out.len(), "bytes behind the head"),
        // Bytes above 0x7f in a target, which we pass and httparse does not.
        Err(httparse::Error::Token) => return,
        other => panic!("{other:?} for {:?}", String::from_utf8_lossy(&out)),
    }
    let count = |name: &str| request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).count();
    assert_eq!(count("host"), 1);
    assert!(count("content-length") + count("transfer-encoding") <= 1);
    assert_eq!(count("x-forwarded-for"), 1);
});
