# The bucket: the official image of rclone, which runs as root, given a user and a folder of its own.
# Held to bytes; scripts/images.py renews it. RCLONE may name another.
ARG RCLONE=docker.io/rclone/rclone:1.75.1@sha256:45401ad7410db1d67ffdb58e19059ad20b0d8e0285a60e38bbec55cc1019c7a5
FROM ${RCLONE}
RUN mkdir -p /data && chown 10001:10001 /data
USER 10001:10001
EXPOSE 9000
LABEL org.opencontainers.image.title="clickflow-s3" \
      org.opencontainers.image.description="rclone as an S3-compatible bucket on a volume"
