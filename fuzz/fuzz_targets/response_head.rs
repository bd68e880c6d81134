//! Any bytes as an answer's head: never a panic, and what passes is read the same way by another parser.

#![no_main]

use lemonade_load_balancer::internals::Rewriter;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut out = Vec::new();
    if Rewriter::default().response(bytes, &mut out).is_none() {
        return;
    }
    let mut fields = [httparse::EMPTY_HEADER; 256];
    let mut response = httparse::Response::new(&mut fields);
    match response.parse(&out) {
        Ok(httparse::Status::Complete(length)) => assert_eq!(length, out.len(), "bytes behind the head"),
        other => panic!("{other:?} for {:?}", String::from_utf8_lossy(&out)),
    }
    let count = |name: &str| response.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).count();
    assert!(count("content-length") + count("transfer-encoding") <= 1);
});
