//! The systems that are known. To add one: a file here with a type that implements
//! [`crate::system::System`].

pub mod accord;
pub mod etcd;
pub mod zookeeper;
