//! Scripted origins and raw clients for tests
