//! The sources against the real thing: PostgreSQL, SQLite files, a name server.

mod dns;
mod names;
mod postgres;
mod reports;
mod sqlite;
