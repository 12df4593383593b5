"""What an image holds, told by the name of its repository: registry, tag and digest say nothing."""

# Names that only mean something together with the folder above: `mssql/server`.
_GENERIC_NAMES = frozenset({"server", "enterprise", "express", "free"})
_NAMES = """
activemq activemq-artemis activemq-classic arangodb artemis cassandra clickhouse clickhouse-server
cockroach couchbase couchbase/server couchdb cp-kafka database/enterprise database/express
database/free db2 dragonfly elasticsearch etcd eventstore influxdb kafka keydb mariadb
mariadb-galera memcached milvus mongo mongodb mongodb-community-server mongodb-enterprise-server
mongodb-sharded mssql/server mysql mysql-server nats neo4j opensearch oracle-free oracle-xe
percona percona-server percona-server-mongodb percona-xtradb-cluster pgvector postgis postgres
postgresql postgresql-repmgr pulsar qdrant questdb rabbitmq ravendb redis redis-cluster
redis-sentinel redis-stack redis-stack-server redpanda rethinkdb scylla solr surrealdb timescaledb
timescaledb-ha valkey valkey-cluster weaviate yugabyte zookeeper
"""
_DATABASES = frozenset(_NAMES.split())


def repository_name(image: str) -> str:
    """The program that an image is named after, in lower case; empty for a bare image id.

    `docker.io/library/postgres:16@sha256:...` is `postgres`, `bitnami/postgresql` is `postgresql`,
    `mcr.microsoft.com/mssql/server:2022-latest` is `mssql/server`.
    """
    reference = image.partition("@")[0].lower()
    path, _, name = reference.rpartition("/")
    name = name.partition(":")[0]
    if not path and name == "sha256":
        return ""
    return f"{path.rpartition('/')[2]}/{name}" if path and name in _GENERIC_NAMES else name


def is_database(image: str) -> bool:
    """Whether an image is a well-known database, cache, search engine or message queue."""
    return repository_name(image) in _DATABASES
