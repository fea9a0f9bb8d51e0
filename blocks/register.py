"""Every Prefect block type of Slipway, by its class: what `slipway up` registers and what loading a document needs."""

from blocks.balancer_traefik import TraefikBalancer
from blocks.databases_postgres import PostgresDatabases
from blocks.images_docker import DockerImages
from blocks.metrics_traefik import TraefikMetrics
from blocks.notifier_mailbox import MailboxNotifier
from blocks.runner_local import LocalRunner
from blocks.sources_git import GitSources
from blocks.store_s3 import S3ObjectStore
from blocks.target_local import LocalTarget

SITE_BLOCKS = (LocalTarget, TraefikBalancer, TraefikMetrics)
"""One document for each site of each environment, named `<environment>-<site>`."""

SINGLE_BLOCKS = (DockerImages, GitSources, LocalRunner, MailboxNotifier, PostgresDatabases, S3ObjectStore)
"""One document each, named `main`."""
