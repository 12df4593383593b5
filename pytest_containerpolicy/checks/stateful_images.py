"""Where well-known images keep their data.

From the images' own documentation and Dockerfiles, most of them at https://hub.docker.com/_/NAME.
Images whose data directory is chosen by arguments (etcd, minio, vault, nats) are not here, nor
those that keep nothing by default (memcached, mosquitto).
"""

import re
from collections.abc import Mapping

from msgspec import Struct

from pytest_containerpolicy.checks.images import repository_name

# Declared as VOLUME by the image.
_IMAGE_VOLUMES = {
    "alertmanager": "/alertmanager",
    "arangodb": "/var/lib/arangodb3",
    "cassandra": "/var/lib/cassandra",
    "clickhouse": "/var/lib/clickhouse",
    "clickhouse-server": "/var/lib/clickhouse",
    "consul": "/consul/data",
    "couchbase": "/opt/couchbase/var",
    "couchdb": "/opt/couchdb/data",
    "cp-kafka": "/var/lib/kafka/data",
    "gitea": "/data",
    "gitlab-ce": "/var/opt/gitlab",
    "gitlab-ee": "/var/opt/gitlab",
    "jenkins": "/var/jenkins_home",
    "mariadb": "/var/lib/mysql",
    "mongo": "/data/db",
    "mysql": "/var/lib/mysql",
    "neo4j": "/data",
    "nexus3": "/nexus-data",
    "nextcloud": "/var/www/html",
    "percona": "/var/lib/mysql",
    "prometheus": "/prometheus",
    "rabbitmq": "/var/lib/rabbitmq",
    "redis": "/data",
    "rethinkdb": "/data",
    "scylla": "/var/lib/scylla",
    "solr": "/var/solr",
    "valkey": "/data",
    "wordpress": "/var/www/html",
    "zookeeper": "/data",
}
_DIRECTORIES = {
    "elasticsearch": "/usr/share/elasticsearch/data",
    "grafana": "/var/lib/grafana",
    "meilisearch": "/meili_data",
    "mssql/server": "/var/opt/mssql",
    "opensearch": "/usr/share/opensearch/data",
    "qdrant": "/qdrant/storage",
}
_POSTGRES = frozenset({"postgres", "postgis", "pgvector", "timescaledb"})
_POSTGRES_MAJOR = re.compile(r"(?:.*-)?pg(\d+)|(\d+)")
# Deeper folders that hold what matters, and are mounted instead.
_INSTEAD = {
    "cassandra": "/var/lib/cassandra/data",
    "mssql/server": "/var/opt/mssql/data",
    "nextcloud": "/var/www/html/data",
    "rabbitmq": "/var/lib/rabbitmq/mnesia",
    "solr": "/var/solr/data",
    "wordpress": "/var/www/html/wp-content",
}
# Where Bitnami's charts mount the data of these, it is elsewhere than in the bare images.
_BITNAMI = {
    "cassandra": ("/bitnami/cassandra/data",),
    "clickhouse": ("/bitnami/clickhouse",),
    "consul": ("/bitnami/consul",),
    "elasticsearch": ("/bitnami/elasticsearch/data",),
    "etcd": ("/bitnami/etcd/data",),
    "influxdb": ("/bitnami/influxdb",),
    "kafka": ("/bitnami/kafka/data",),
    "mariadb": ("/bitnami/mariadb/data",),
    "minio": ("/bitnami/minio/data", "/data"),
    "mongodb": ("/bitnami/mongodb/data/db",),
    "mysql": ("/bitnami/mysql/data",),
    "postgresql": ("/bitnami/postgresql/data",),
    "rabbitmq": ("/bitnami/rabbitmq/mnesia", "/opt/bitnami/rabbitmq/.rabbitmq/mnesia"),
    "redis": ("/bitnami/redis/data", "/data"),
    "zookeeper": ("/bitnami/zookeeper/data",),
}


class DataDirectory(Struct, frozen=True):
    """Where an image keeps its data.

    `image_volume` is the VOLUME that the image declares there: without a mount at or below that
    very path the runtime puts a new, anonymous volume on it, over whatever is mounted above.
    `or_below`: the image lets a folder below be chosen, and refuses to start if it is not.
    """

    path: str
    image_volume: str = ""
    or_below: bool = False

    @property
    def mount_point(self) -> str:
        """Where a volume belongs."""
        return self.image_volume or self.path


def data_directories(
    image: str, more: Mapping[str, str] | None = None
) -> tuple[DataDirectory, ...]:
    """Where an image keeps its data: one of these, by version; empty for an unknown image.

    `more` names directories by the image's name, or by the name with the folder above it.
    """
    name, folder = repository_name(image), _folder(image)
    own = more or {}
    if found := own.get(f"{folder}/{name}") or own.get(name):
        return (DataDirectory(found),)
    if folder.startswith("bitnami"):
        return tuple(DataDirectory(path) for path in _BITNAMI.get(name, ()))
    if name in _POSTGRES:
        return _postgres(_tag(image))
    volume = _IMAGE_VOLUMES.get(name, "")
    paths = (volume or _DIRECTORIES.get(name), _INSTEAD.get(name))
    return tuple(DataDirectory(path, volume) for path in paths if path)


def _postgres(tag: str) -> tuple[DataDirectory, ...]:
    """Its VOLUME moved up with version 18: https://github.com/docker-library/postgres/pull/1259

    An older one's PGDATA is often a folder below: initdb wants an empty directory.
    """
    match = _POSTGRES_MAJOR.match(tag)
    major = int(match[1] or match[2]) if match else None
    old = DataDirectory("/var/lib/postgresql/data", "/var/lib/postgresql/data", or_below=True)
    if major is None:
        return DataDirectory("/var/lib/postgresql", "/var/lib/postgresql"), old
    new = DataDirectory(f"/var/lib/postgresql/{major}/docker", "/var/lib/postgresql")
    return (old,) if major < 18 else (new,)


def _folder(image: str) -> str:
    return image.partition("@")[0].lower().rpartition("/")[0].rpartition("/")[2]


def _tag(image: str) -> str:
    return image.partition("@")[0].rpartition("/")[2].partition(":")[2]
