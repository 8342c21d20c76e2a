# The bucket: the official image of rclone, which runs as root, given a user and a folder of its own.
# RCLONE may name another version, or this one by digest.
ARG RCLONE=docker.io/rclone/rclone:1.75.1
FROM ${RCLONE}
RUN mkdir -p /data && chown 10001:10001 /data
USER 10001:10001
EXPOSE 9000
LABEL org.opencontainers.image.title="clickflow-s3" \
      org.opencontainers.image.description="rclone as an S3-compatible bucket on a volume"
