"""What a file defines, and where: functions, classes, sections."""
